"""What a user decided of findings, and the table of images that follows; no image is touched."""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from cache.durable import whole_file
from pipelines.auditing.findings import DROP, Decided, read_decisions
from pipelines.setup import Setup, flags_for
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.images.archives import FolderFiles
from transfer.images.imageset import ImageSet
from transfer.images.remote import RemoteFolder
from transfer.images.sources import DataOptions, groups_in
from transfer.images.tables import match_names

TABLE = "audited.csv"
"""In a run's folder: the images as they are after the decisions, a table like any other."""
KEEP, RELABEL = "keep", "relabel"
FEW = 3


@dataclass(frozen=True)
class Applied:
    """What became of decisions.

    Attributes:
        path: The table.
        root: Where its paths begin.
        images: Rows in it.
        dropped: Images that are not in it any more.
        relabelled: Images with another label.
        kept: Images that somebody looked at and left as they are.
    """

    path: Path
    root: str
    images: int
    dropped: int
    relabelled: int
    kept: int


def apply_decisions(setup: Setup, path: Path) -> Applied:
    """Writes a table of the run's images without those dropped, and with new labels.

    Args:
        setup: Images, and the run.
        path: An `audit.csv` with decisions: drop, keep, relabel (to the class suggested) or
            `relabel:NAME`.

    Raises:
        InputError: One line, if nothing is decided, a decision is none of these or meets another
            of the same image, an image or a class is unknown, a class would lose its last image,
            or the images are no files of their own.
    """
    images = replace(setup, data=replace(setup.data, limit_per_class=None)).images()
    root = _root(images, setup.data.data)
    labels = _labels(path, read_decisions(path), images)
    dropped = {id for id, label in labels.items() if label is None}
    given = [images.class_names[label] for label in images.labels.tolist()]
    now = [labels.get(id) or label for id, label in zip(images.ids, given, strict=True)]
    stays = [id not in dropped for id in images.ids]
    left = Counter(label for label, kept in zip(now, stays, strict=True) if kept)
    if emptied := [name for name in images.class_names if not left[name]]:
        raise InputError(
            f"{path} expects an image of each class to stay, received decisions that leave none of "
            f"{', '.join(emptied[:FEW])}; keep one"
        )
    columns: dict[str, Sequence[str]] = {"path": images.ids.tolist(), "label": now}
    if len(set(images.split.tolist())) > 1:
        columns["split"] = images.split.tolist()
    groups = groups_in(images.ids, replace(setup.data, limit_per_class=None))
    if groups is not None:
        columns["group"] = groups.tolist()
    rows = [
        row for row, kept in zip(zip(*columns.values(), strict=True), stays, strict=True) if kept
    ]
    target = setup.run_folder / TABLE
    text = io.StringIO()
    csv.writer(text).writerows([tuple(columns), *rows])
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as temporary:
        temporary.write_bytes(text.getvalue().encode())
    changed = {id for id, old, new in zip(images.ids, given, now, strict=True) if old != new}
    relabelled = len(changed - dropped)
    kept_as_is = len(labels) - len(dropped) - relabelled
    return Applied(target, root, len(rows), len(dropped), relabelled, kept_as_is)


def command_after(setup: Setup, applied: Applied) -> str:
    """What to type next, with the options that the run has and defaults have not."""
    paths = ["--data", str(applied.path), "--images-root", applied.root]
    words = [f"transfer features {shlex.join(paths)}"]
    words.append(flags_for(asdict(setup.backbone), BackboneOptions()))
    for option in fields(DataOptions):
        value = getattr(setup.data, option.name)
        told_otherwise = ("data", "images_root", "limit_per_class", "group")
        if option.name not in told_otherwise and value != option.default:
            words.append(f"--{option.name.replace('_', '-')} {shlex.quote(str(value))}")
    if setup.artifacts != Setup.artifacts:
        words.append(f"--artifacts {shlex.quote(str(setup.artifacts))}")
    return " ".join(filter(None, words))


def _labels(path: Path, decided: Sequence[Decided], images: ImageSet) -> dict[str, str | None]:
    """The label of each image that was decided of; None for one to be dropped."""
    if not decided:
        raise InputError(
            f"{path} expects drop, keep or relabel in the column decision, received none; "
            "write some"
        )
    given = {
        id: images.class_names[label]
        for id, label in zip(images.ids, images.labels.tolist(), strict=True)
    }
    meant = match_names([row.id for row in decided], images.ids, whole=True)
    labels: dict[str, str | None] = {}
    for row, ids in zip(decided, meant, strict=True):
        if len(ids) != 1:
            raise InputError(
                f"{path} expects ids of the run's images, received {row.id} in line {row.line}; "
                "take it out, or name the run with --run"
            )
        (id,) = ids
        label = _label(path, row, given[id], images.class_names)
        if id in labels and labels[id] != label:
            raise InputError(
                f"{path} expects one decision for {id}, received several, one in line {row.line}; "
                "leave one"
            )
        labels[id] = label
    return labels


def _label(path: Path, row: Decided, given: str, class_names: Sequence[str]) -> str | None:
    word, colon, name = (part.strip() for part in row.decision.partition(":"))
    word = word.casefold()
    if word == DROP and not colon:
        return None
    if word == KEEP and not colon:
        return given
    if word == RELABEL:
        label = name if colon else row.suggested if row.suggested != DROP else ""
        if label in class_names:
            return label
        expected = f"one of {', '.join(class_names[:20])}" + ", ..." * (len(class_names) > 20)
        raise InputError(
            f"{path} expects a class behind relabel ({expected}), received {label or 'none'!r} in "
            f"line {row.line}; write relabel:NAME"
        )
    raise InputError(
        f"{path} expects decisions drop, keep, relabel or relabel:NAME, received "
        f"{row.decision!r} in line {row.line}; correct it"
    )


def _root(images: ImageSet, data: str) -> str:
    """Where the ids begin as paths."""
    source = images.source
    if not isinstance(source, FolderFiles):
        raise InputError(
            f"--apply expects images in files of their own, of which a table can be made, received "
            f"{data}; unpack it"
        )
    top = str(source.root.address if isinstance(source.root, RemoteFolder) else source.root)
    file = source.names[images.members[0]]
    # Folders that wrap all of the data are no part of ids; files of a table are found by it again.
    above = file.removesuffix(images.ids[0]).rstrip("/") if file.endswith(images.ids[0]) else ""
    return f"{top.rstrip('/')}/{above}" if above else top

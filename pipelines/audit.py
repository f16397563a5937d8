"""The audit stage: copies, leaks, suspect labels, odd pictures, and whether images are enough."""

import shlex
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache import FeatureFile
from pipelines.auditing.copies import copies, names_of_clusters, torn_groups
from pipelines.auditing.decisions import apply_decisions, command_after
from pipelines.auditing.findings import (
    AUDIT,
    Audited,
    Finding,
    in_order,
    show,
    write_findings,
)
from pipelines.auditing.labels import likeliest, read_judged, suspects
from pipelines.auditing.leaks import SUMMARY
from pipelines.auditing.number import measure, say_number
from pipelines.auditing.pictures import find_twins_in, look
from pipelines.auditing.reading import read_flat
from pipelines.counting import counted
from pipelines.features import open_features, split_of
from pipelines.finetune import load_rows_of
from pipelines.machine.memory import in_words
from pipelines.progress import progress
from pipelines.results import write_json
from pipelines.samples import memory_for
from pipelines.setup import Setup
from transfer.auditing.class_confusion import Alike, classes_alike
from transfer.auditing.neighbours import Neighbours, nearest
from transfer.auditing.outliers import UNLIKE, outlyingness
from transfer.errors import InputError
from transfer.images.sources import groups_in
from transfer.knowing.knowledge import directions_of
from transfer.names import shown

UNEVEN = 3.0
"""Times as many images in the largest class as in the smallest, from which on that is said."""
FEW = 3
"""Classes, or pairs of them, that are named where many could be."""


@dataclass(frozen=True)
class AuditStage:
    """Look for copies, leaks, suspect labels, odd pictures, and say whether images are enough.

    Findings go to audit.csv in the run's folder, with a column to decide in: drop, keep, relabel
    (to the class suggested) or relabel:NAME. --apply makes a table of images of that, which other
    stages take as --data. No image is touched.
    """

    setup: Setup = field(default_factory=Setup)
    apply: Path | None = None
    """An edited audit.csv: write the table of images that follows from its decisions."""


def run(stage: AuditStage) -> dict:
    """Audits the run's images, or applies decisions.

    Returns:
        What is also written to `audit.json`; of decisions how many there were.

    Raises:
        InputError: If images or decisions cannot be used, or features are too large for memory.
    """
    return _apply(stage.setup, stage.apply) if stage.apply else _audit(stage.setup)


def _apply(setup: Setup, path: Path) -> dict[str, int]:
    applied = apply_decisions(setup, path)
    print(
        f"audit: {counted(applied.dropped, 'image')} dropped, {applied.relabelled:,} relabelled, "
        f"{applied.kept:,} kept as they are; {applied.images:,} in {applied.path}"
    )
    print("audit: no image was touched; features of those that stay are taken from the store by")
    print(f"  {shown(command_after(setup, applied))}")
    names = ("images", "dropped", "relabelled", "kept")
    return {name: getattr(applied, name) for name in names}


def _audit(setup: Setup) -> dict[str, Any]:
    started = time.monotonic()
    folder = setup.run_folder
    with open_features(setup) as features:
        audited = _audited(setup, features)
        judged = read_judged(folder, features)
        neighbours = _neighbours(setup, features)
        images = load_rows_of(features, setup)
        looks = look(images)
        twins = find_twins_in(images, neighbours, features.image_digests, looks)
        pixels = looks.sizes.prod(1).tolist()
        findings = in_order(
            [
                *copies(twins, audited, pixels, likeliest(judged, features)),
                *torn_groups(audited),
                *suspects(judged, features),
                *_outliers(neighbours),
                *looks.faults(),
            ]
        )
        show(findings, audited)
        alike = classes_alike(neighbours, features.labels, len(features.class_names))
        classes = _classes(features, audited, alike)
        curve = measure(setup, features, np.asarray(audited.split), audited.groups, judged.cuts)
    write_findings(folder / AUDIT, findings, audited)
    result = {
        "features": features.key,
        "images": len(audited.ids),
        "found": Counter(finding.kind for finding in findings),
        "labels_judged": len(judged.rows),
        **classes,
        "number": say_number(curve),
        "seconds": round(time.monotonic() - started, 1),
        "twins": names_of_clusters(twins, audited.ids),
    }
    write_json(folder / SUMMARY, result)
    _say_next(folder, findings, result["seconds"])
    return result


def _say_next(folder: Path, findings: list[Finding], seconds: float) -> None:
    path = folder / AUDIT
    count = f"{len(findings):,} finding{'s' * (len(findings) != 1)}"
    print(f"audit: {count} in {path}, in {seconds:.1f} s")
    if findings:
        print("audit: write drop, keep, relabel or relabel:NAME into its column decision, then")
        print(f"  transfer audit --apply {shown(shlex.quote(str(path)))}")


def _audited(setup: Setup, features: FeatureFile) -> Audited:
    groups = groups_in(features.ids, setup.data)
    return Audited(
        features.ids.tolist(),
        np.array(features.class_names, object)[features.labels].tolist(),
        split_of(features, setup.data).tolist(),
        None if groups is None else groups.tolist(),
    )


def _neighbours(setup: Setup, features: FeatureFile) -> Neighbours:
    """By the topmost cut, which knows most of what is in a picture."""
    cuts = features.cuts[-1:]
    budget = memory_for(setup.memory_budget)
    # Once as they are read, once as directions.
    needed = 2 * 4 * len(features) * int(np.prod(features.joined_shape(cuts)))
    if needed > budget:
        raise InputError(
            f"an audit expects {in_words(needed)} of memory for features, received "
            f"{in_words(budget)}; give --memory-budget if there is more, or a smaller --cut"
        )
    units = directions_of(read_flat(features, np.arange(len(features)), cuts))
    with progress("comparing", 1, "blocks") as update:
        return nearest(units, report=_in_shares(update))


def _in_shares(update: Callable[..., None]) -> Callable[[int, int], None]:
    return lambda done, of: update(done / of)


def _outliers(neighbours: Neighbours) -> list[Finding]:
    unusual = outlyingness(neighbours)
    rows = np.flatnonzero(unusual > UNLIKE)
    order = rows[np.argsort(-unusual[rows], kind="stable")].tolist()
    note = "{:.1f} deviations farther off than usual"
    return [
        Finding(row, "outlier", float(unusual[row]), note.format(unusual[row])) for row in order
    ]


def _classes(features: FeatureFile, audited: Audited, alike: list[Alike]) -> dict[str, Any]:
    """Says where classes are uneven, or cannot be told apart."""
    names = features.class_names
    counts = np.bincount(features.labels, minlength=len(names))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] >= UNEVEN * counts[least]:
        print(
            shown(
                f"audit: classes are uneven: {names[most]} has {counted(counts[most], 'image')}, "
                f"{names[least]} {counts[least]:,}"
            )
        )
    pairs = [(names[pair.one], names[pair.other], round(pair.mixed, 3)) for pair in alike]
    if pairs:
        few = ", ".join(f"{one} and {other} ({mixed:.0%})" for one, other, mixed in pairs[:FEW])
        more = ", ..." * (len(pairs) > FEW)
        print(shown(f"audit: classes mixed, of what chance would mix: {few}{more}"))
    of_both = Counter(zip(audited.classes, audited.split, strict=True))
    return {
        "classes": dict(zip(names, counts.tolist(), strict=True)),
        "classes_by_split": {
            name: {split: of_both[name, split] for split in ("train", "val", "test")}
            for name in names
        },
        "classes_mixed": [list(pair) for pair in pairs],
    }

"""Sorts a flat folder of images into one folder per class.

`plan` says what would be done and touches nothing; `carry_out` does it.

The target may exist, lie inside the source, or be the source itself: only files directly in the
source are looked at, so class folders among them are never mistaken for images. What the target
holds already stays as it is and is never overwritten, so a second batch of images can be added;
folders there that belong to no class of this plan would be read as classes later on, so start
from an empty target where that is not meant.
"""

from __future__ import annotations

import errno
import filecmp
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category, normalize

from transfer.errors import InputError
from transfer.images.file_names import FORMATS, choose_images
from transfer.images.tables import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    find_column,
    match_names,
    read_table,
)
from transfer.machine.whole_files import suppress_errors

# The class ends at the first run of separators that a digit follows: `great dane-17`, `cat (12)`.
CLASS_IN_NAME = re.compile(r"(?P<class_name>.*?[^._\- (])[._\- (]+[0-9]")

LONGEST_FOLDER_NAME = 255  # bytes, on most file systems
_NOT_KEPT = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What disks of a network or of Windows say that cannot keep a file's times and modes."""

UNSAFE_CATEGORIES = frozenset({"Cc", "Cs"})  # control characters; bytes that are no UTF-8


@dataclass(frozen=True)
class Move:
    """One image: where it is and where it belongs."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """What sorting a folder would do.

    Attributes:
        moves: One entry an image, in the order of file names.
        counts: Images per class, in the order of class names.
        unlabelled: Images whose class can't be told; they stay where they are.
        target: The folder that receives one folder per class.
        left_out: How many other files lie in the source, by kind, as `kinds_in_words` takes them.
    """

    moves: tuple[Move, ...]
    counts: dict[str, int]
    unlabelled: tuple[Path, ...]
    target: Path
    left_out: Mapping[str, int]


def plan(source: Path, target: Path, *, labels: Path | None = None) -> Plan:
    """Says which image of a flat folder belongs into which class folder. Changes nothing on disk.

    Without `labels` the class is the part of the file name before the first of `. _ - (` or space
    that is followed by a number: `cat.12.jpg`, `dog_0003.png`, `great dane-17.jpg`, `cat (12).jpg`.

    Args:
        source: Folder with the images directly in it. Subfolders and hidden files are ignored.
        target: Folder that would hold `<class>/<file name>`; need not exist.
        labels: CSV file with a header, separated by comma, semicolon or tab, in UTF-8. One column
            is called as in `IMAGE_COLUMNS` (a file name, with or without suffix and folders before
            it), one as in `LABEL_COLUMNS`, however written: `File Name` is `filename`.

    Raises:
        InputError: If the source holds no image or none whose class can be told, a class name can't
            be a folder name, or the CSV has no such columns, names files that don't exist or names
            one file twice with different labels.
    """
    if not source.is_dir():
        raise InputError(f"expected a folder of images, received {source}: no such folder")
    if target.exists() and not target.is_dir():
        raise InputError(f"expected a folder to sort into, received {target}: it is a file")
    chosen = choose_images([path.name for path in source.iterdir() if path.is_file()])
    images = sorted(source / name for name in chosen.images)
    if not images:
        raise InputError(
            f"expected images ({FORMATS}) directly in {source}, received none: "
            "name the folder that holds them"
        )
    classes = _classes_from_names(images) if labels is None else _classes_from_csv(images, labels)
    if not classes:
        raise InputError(
            f"expected names such as cat.12.jpg or dog_0003.png, received {_some(images)}: "
            "rename the files or give a CSV file of labels"
            if labels is None
            else f"expected a label for at least one image of {source}, received none in {labels}"
        )
    _check_class_names(classes.values())
    return Plan(
        moves=tuple(
            Move(path, target / classes[path] / path.name) for path in images if path in classes
        ),
        counts=dict(sorted(Counter(classes.values()).items())),
        unlabelled=tuple(path for path in images if path not in classes),
        target=target,
        left_out=chosen.left_out,
    )


def carry_out(plan: Plan, *, move: bool = False) -> int:
    """Copies, or moves, every image of a plan into its class folder.

    Can be run again after an interruption: a file that is there already, byte for byte the same,
    is not written again, and each file appears under its name only when it is complete.

    Args:
        plan: What `plan` returned.
        move: Take the images away from the source instead of copying them.

    Returns:
        The number of files copied or moved by this call, without those that were there already.

    Raises:
        InputError: Before anything is done, if a target exists and differs from its source, or an
            image of the plan is gone.
    """
    done = {step for step in plan.moves if _is_done(step, move)}
    waiting = [step for step in plan.moves if step not in done]
    _check_waiting(waiting)
    for folder in {step.target.parent for step in waiting}:
        folder.mkdir(parents=True, exist_ok=True)
    for step in waiting:
        _place(step, move)
    if move:
        for step in done:
            _remove_copied(step)
    return len(waiting)


def _classes_from_names(images: Sequence[Path]) -> dict[Path, str]:
    matches = {path: CLASS_IN_NAME.match(path.stem) for path in images}
    return {path: _normal(match["class_name"].strip()) for path, match in matches.items() if match}


def _classes_from_csv(images: Sequence[Path], labels: Path) -> dict[Path, str]:
    """Joins the rows of a table to the images; says which rows fit no image or contradict."""
    rows = _read_rows(labels)
    by_name = {path.name: path for path in images}
    meant = match_names([file for file, _ in rows], by_name)
    found: dict[Path, set[str]] = defaultdict(set)
    missing: list[str] = []
    ambiguous: list[str] = []
    for (file, class_name), names in zip(rows, meant, strict=True):
        if len(names) == 1:
            found[by_name[names[0]]].add(class_name)
        else:
            (ambiguous if names else missing).append(file)

    contradicting = [path for path, names in found.items() if len(names) > 1]
    for problem, files in (
        ("every row to name an image in the folder", missing),
        ("every row to name one image, with its suffix where two share a name", ambiguous),
        ("one label for each image", contradicting),
    ):
        if files:
            raise InputError(f"{labels}: expected {problem}, received {_some(files)}")
    return {path: names.pop() for path, names in found.items()}


def _read_rows(labels: Path) -> list[tuple[str, str]]:
    """Reads (file, class name) from a table, whatever its other columns."""
    header, rows, _ = read_table(labels)
    file_column, label_column = (find_column(header, n) for n in (IMAGE_COLUMNS, LABEL_COLUMNS))
    if file_column is None or label_column is None:
        raise InputError(
            f"{labels}: expected a first line with a column {'/'.join(IMAGE_COLUMNS)} and a column "
            f"{'/'.join(LABEL_COLUMNS)}, received {','.join(header)!r}: add such a header"
        )
    short = [str(row) for row in rows if len(row) <= max(file_column, label_column)]
    if short:
        raise InputError(
            f"{labels}: expected a file and a label in each row, received {_some(short)}"
        )
    return [(row[file_column], _normal(row[label_column])) for row in rows]


def _check_class_names(class_names: Iterable[str]) -> None:
    unsafe = [name for name in sorted(set(class_names)) if not _is_safe(name)]
    if unsafe:
        raise InputError(
            "expected class names that can be folder names (not empty, no slash, no leading dot, "
            f"no control character, at most {LONGEST_FOLDER_NAME} bytes), received "
            f"{_some(repr(name) for name in unsafe)}: change the labels"
        )


def _is_safe(name: str) -> bool:
    return (
        bool(name)
        and name[0] != "."
        and not any(letter in "/\\" or category(letter) in UNSAFE_CATEGORIES for letter in name)
        and len(name.encode()) <= LONGEST_FOLDER_NAME
    )


def _is_done(step: Move, move: bool) -> bool:
    """Whether an earlier run placed this file: moved and gone, or there in full."""
    if not step.target.is_file():
        return False
    if not step.source.exists():
        return move
    return filecmp.cmp(step.source, step.target, shallow=False)


def _check_waiting(waiting: Sequence[Move]) -> None:
    gone = [step.source for step in waiting if not step.source.is_file()]
    if gone:
        raise InputError(
            f"expected the images of the plan, these are gone: {_some(gone)}: plan again"
        )
    taken = [step.target for step in waiting if step.target.exists()]
    if taken:
        raise InputError(
            f"expected no other files under these names, received {_some(map(str, taken))}: "
            "choose another target"
        )
    blocked = {step.target.parent for step in waiting if step.target.parent.is_file()}
    if blocked:
        raise InputError(
            f"expected folders, received files: {_some(map(str, sorted(blocked)))}: "
            "choose another target"
        )


def _place(step: Move, move: bool) -> None:
    # A symbolic link is copied, not renamed: elsewhere a relative one would lead nowhere.
    if move and not step.source.is_symlink():
        try:
            step.source.rename(step.target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    # Always the same name, so that a run after a kill overwrites what the killed one left.
    partial = step.target.with_name(f".{step.target.name[:40]}.partial")
    try:
        shutil.copyfile(step.source, partial)
        with suppress_errors(*_NOT_KEPT):
            shutil.copystat(step.source, partial)
        partial.replace(step.target)
    finally:
        partial.unlink(missing_ok=True)
    if move:
        step.source.unlink()


def _remove_copied(step: Move) -> None:
    """Removes a source that is in place already, unless the two are one file by a link."""
    if step.source.exists() and not step.source.samefile(step.target):
        step.source.unlink()


def _normal(text: str) -> str:
    # macOS stores "é" as two code points, tables usually as one.
    return normalize("NFC", text)


def _some(items: Iterable[object], limit: int = 5) -> str:
    """The first few of a list and how many there are: `a, b and 7 more (9 in all)`."""
    names = [item.name if isinstance(item, Path) else str(item) for item in items]
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names[:limit])
    left = len(names) - limit
    return f"{shown} and {left} more ({len(names)} in all)" if left > 0 else shown

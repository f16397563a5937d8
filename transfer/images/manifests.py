"""Tables of images: a column of paths and one of labels, perhaps of splits and of groups."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfer.errors import InputError
from transfer.images.archives import FolderFiles, open_listing
from transfer.images.digests import FileDigests
from transfer.images.file_names import is_image
from transfer.images.imageset import ImageSet
from transfer.images.records import read_jsonl, read_parquet
from transfer.images.remote import RemoteFolder
from transfer.images.splits import SPLIT_NAMES
from transfer.images.tables import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    Table,
    find_column,
    match_names,
    read_table,
)
from transfer.images.texts import Texts

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Names of tables end so, in any case."""
# Where a table has several of these columns the first in this order counts.
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
GROUP_COLUMNS = ("group", "patient", "subject")
FEW = 3
"""Rows that are named where many could be."""
COLUMNS = (IMAGE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, GROUP_COLUMNS)


@dataclass(frozen=True)
class Manifest:
    """What a table says of each image, once, in order of id.

    Attributes:
        path: The table.
        ids: Paths of images as the table has them, POSIX, without "." and empty parts.
        labels: Names of classes.
        splits: "train", "val" or "test"; all "train" where there is no such column.
        groups: None where there is no such column.
        repeated: Ids of rows that only say again what another says, and were left out.
    """

    path: Path
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...] | None
    repeated: tuple[str, ...]

    def groups_of(self, ids: Iterable[str]) -> list[str] | None:
        """The group of some of the images, or None where the table has no groups."""
        if self.groups is None:
            return None
        groups = dict(zip(self.ids, self.groups, strict=True))
        return [groups[id] for id in ids]

    def fingerprint(self) -> str | None:
        """Stands for the groups in short; None where there are none."""
        if self.groups is None:
            return None
        text = json.dumps(list(zip(self.ids, self.groups, strict=True)))
        return f"groups of a table, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table."""
    return name.lower().endswith(SUFFIXES)


def read(path: Path) -> Manifest:
    """Reads a table; says what of it cannot be used.

    Args:
        path: A table in UTF-8 separated by comma, semicolon or tab, with a header; one JSON object
            a line (`.jsonl`); or `.parquet`. Columns are found by name, whatever its case; others
            are ignored.

    Raises:
        InputError: One line, if it cannot be read, has no column of paths or of labels, leaves a
            path, label or group empty, has a split of another name, or contradicts itself.
    """
    table = _read(path)
    columns = [find_column(table.header, names) for names in COLUMNS]
    if None in columns[:2]:
        raise InputError(
            f"{path} expects a column of paths ({', '.join(IMAGE_COLUMNS)}) and one of labels "
            f"({', '.join(LABEL_COLUMNS)}) in its header, received "
            f"{', '.join(table.header) or 'none'}; rename them"
        )
    cells = [[_cell(row, column) for column in columns] for row in table.rows]
    _check_filled(path, table, columns, cells)
    if unknown := [row[2] for row in cells if row[2] and row[2].casefold() not in SPLIT_NAMES]:
        raise _refusal(
            path, f"splits called {', '.join(SPLIT_NAMES)}", "others", unknown, "rename them"
        )
    rows: dict[str, tuple[str, str, str]] = {}
    repeated: list[str] = []
    contradicting: list[str] = []
    for file, label, split, group in cells:
        id, row = _normal(file), (label, SPLIT_NAMES[split.casefold()] if split else "train", group)
        if id not in rows:
            rows[id] = row
        else:
            (repeated if rows[id] == row else contradicting).append(id)
    if contradicting:
        what = "one label, split and group of each image"
        raise _refusal(path, what, "images with several", contradicting, "leave one row of each")
    if not rows:
        raise InputError(f"{path} expects a row for each image, received none; add some")
    ids = tuple(sorted(rows))
    labels, splits, groups = zip(*(rows[id] for id in ids), strict=True)
    has_groups = columns[-1] is not None
    return Manifest(path, ids, labels, splits, groups if has_groups else None, tuple(repeated))


def load(manifest: Manifest, root: Path | RemoteFolder, is_part: bool) -> ImageSet:
    """Makes rows of a table's images, in order of id; classes are in order of name.

    Args:
        manifest: From `read`.
        root: Where the paths begin.
        is_part: Whether files that are missing are bad images like others, and no error.

    Raises:
        InputError: If files are missing.
    """
    files, missing = _files(manifest, root)
    if missing and not is_part:
        remedy = "add or remove them, or see --images-root"
        raise _refusal(manifest.path, f"images in {root}", "missing files", missing, remedy)
    class_names = tuple(sorted(set(manifest.labels)))
    index = {name: label for label, name in enumerate(class_names)}
    return ImageSet(
        ids=Texts.of(manifest.ids),
        labels=np.array([index[name] for name in manifest.labels], np.int64),
        class_names=class_names,
        split=np.array(manifest.splits, "<U5"),
        source=FolderFiles(root, files),
        members=np.arange(len(manifest.ids)),
    )


def digest(manifest: Manifest, root: Path | RemoteFolder, digests_of: FileDigests) -> str:
    """Returns the sha256, in hexadecimal, of all that a feature file has of a table.

    That is the ids, labels and splits, and the sha256 of each file; not the groups.
    """
    files, _ = _files(manifest, root)
    digests = digests_of([root / file for file in files])
    lines = zip(digests, manifest.ids, manifest.labels, manifest.splits, strict=True)
    return hashlib.sha256(json.dumps(list(lines)).encode()).hexdigest()


def _files(manifest: Manifest, root: Path | RemoteFolder) -> tuple[list[str], list[str]]:
    """Where each image lies below the root, and those that are missing.

    It lies where the table says, or is the only file that the table can mean.
    """
    absent = [id for id in manifest.ids if not (root / id).is_file()]
    if not absent:
        return list(manifest.ids), []
    meant = zip(absent, match_names(absent, _around(absent, root), True), strict=True)
    likely = {id: files[0] for id, files in meant if len(files) == 1}
    taken = Counter(likely.values())
    taken.update(set(manifest.ids).difference(absent))
    found = {id: file for id, file in likely.items() if taken[file] == 1}
    missing = [id for id in absent if id not in found]
    return [found.get(id, id) for id in manifest.ids], missing


def _around(missing: Iterable[str], root: Path | RemoteFolder) -> list[str]:
    """Images that some paths may mean: those of folders called the same but for case."""
    if isinstance(root, RemoteFolder):
        return list(filter(is_image, root.infos))
    tops = {id.partition("/")[0].casefold() if "/" in id else "" for id in missing}
    there: list[str] = []
    # Not all below it, which may be somebody's home.
    for entry in root.iterdir() if root.is_dir() else ():
        if entry.name.casefold() in tops and entry.is_dir():
            there += [f"{entry.name}/{file}" for file in open_listing(entry).files]
        elif "" in tops:
            there.append(entry.name)
    return list(filter(is_image, there))


def _read(path: Path) -> Table:
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return read_jsonl(path, COLUMNS)
    return read_parquet(path, COLUMNS) if suffix == ".parquet" else read_table(path)


def _cell(row: Sequence[str], column: int | None) -> str:
    return row[column] if column is not None and column < len(row) else ""


def _check_filled(
    path: Path, table: Table, columns: Sequence[int | None], cells: Sequence[Sequence[str]]
) -> None:
    """Refuses rows of which a cell that counts is empty."""
    for kind, column in enumerate(columns):
        if column is None:
            continue
        empty = [line for line, row in zip(table.lines, cells, strict=True) if not row[kind]]
        if empty:
            what = f"no empty cell in column {table.header[column]!r}"
            raise _refusal(path, what, "in lines", empty, "fill them in, or remove the rows")


def _refusal(
    path: Path, expected: str, received: str, found: Sequence[object], remedy: str
) -> InputError:
    few = ", ".join(map(str, dict.fromkeys(found[:FEW]))) + ", ..." * (len(found) > FEW)
    return InputError(
        f"{path} expects {expected}, received {len(found):,} {received}: {few}; {remedy}"
    )


def _normal(file: str) -> str:
    return posixpath.normpath(file.replace("\\", "/"))

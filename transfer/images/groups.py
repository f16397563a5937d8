"""Which images belong together: of one patient, one clip, one camera."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from transfer.errors import InputError
from transfer.images.tables import IMAGE_COLUMNS, find_column, match_names, read_table
from transfer.images.texts import TextArray


def groups_of(ids: TextArray, option: str | None, part: bool = False) -> np.ndarray | None:
    r"""Finds the group of each image.

    Args:
        ids: `(rows,)` str, the images.
        option: A regular expression that is searched in each id: the group is what its capture
            groups match, or the whole match where it has none. Or the path of a .csv file with
            two columns, image and group, read as by `tables.read_table` and `match_names`; a first
            line that names an image column, or whose image is none of the ids, is a header.
        part: Whether these are not all images, so that the file may name others, too.

    Returns:
        `(rows,)` str objects, or None without an option.

    Raises:
        InputError: One line, if an image has no group, the expression is none, or the file cannot
            be read as such, names an image twice or, unless `part`, an unknown one.
    """
    if option is None:
        return None
    groups = _listed(ids, option, part) if is_csv(option) else _matched(ids, option)
    return np.array(groups, object)


def is_csv(option: str) -> bool:
    """Whether an option is the path of a file, there or not, and no expression."""
    return option.lower().endswith(".csv")


def fingerprint(option: str | None) -> str | None:
    """Returns what decides the groups: the expression, or the contents of the file in short.

    Raises:
        InputError: If the file cannot be read.
    """
    if option is None or not is_csv(option):
        return option
    return f"a .csv file of sha256 {hashlib.sha256(_read(option)).hexdigest()[:16]}"


def _matched(ids: TextArray, expression: str) -> list[str]:
    try:
        search = re.compile(expression).search
    except re.error as error:
        raise InputError(
            f"--group expects a regular expression or a .csv file, received {expression!r}: "
            f"{error}; mend it"
        ) from None
    groups = []
    for id in ids:
        found = search(id)
        parts = (found.groups() or (found[0],)) if found else ()
        groups.append("\x1f".join(part or "" for part in parts) if any(parts) else "")
    unmatched = [id for id, group in zip(ids, groups, strict=True) if not group]
    if unmatched:
        raise InputError(
            f"--group expects to find {expression!r} in the id of each image, received "
            f"{len(unmatched):,} of {len(ids):,} without it, such as {unmatched[0]!r}; "
            "change the expression, or list the groups in a .csv file"
        )
    return groups


def _listed(ids: TextArray, path: str, part: bool) -> list[str]:
    listed, others = _mapping(_lines(path, ids), ids, path)
    if missing := [id for id in ids if id not in listed]:
        raise InputError(
            f"--group expects a group of each image, received none of {len(missing):,} of "
            f"{len(ids):,} in {path}, such as {missing[0]!r}; add them"
        )
    if others and not part:
        raise InputError(
            f"--group expects images of the data, received {len(others):,} others in {path}, "
            f"such as {others[0]!r}; remove them"
        )
    return [listed[id] for id in ids]


Line = tuple[int, str, str]
"""Number in the file, image as it is called there, group."""


def _lines(path: str, ids: TextArray) -> list[Line]:
    _read(path)  # says what else --group takes where there is no such file
    header, rows, numbers = read_table(Path(path))
    place = find_column(header, IMAGE_COLUMNS)
    if header and (match_names(header[:1], ids)[0] if place is None else set(header) & set(ids)):
        place, rows, numbers = None, [header, *rows], [1, *numbers]  # the first line is one, too
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != 2 or not all(row):
            raise InputError(
                f"--group expects two columns, image and group, received {len(row)} in line "
                f"{number} of {path}, or an empty one: {','.join(row)!r}; mend it"
            )
    first = place or 0
    return [(n, row[first], row[1 - first]) for n, row in zip(numbers, rows, strict=True)]


def _mapping(
    lines: Sequence[Line], ids: TextArray, path: str
) -> tuple[Mapping[str, str], Sequence[str]]:
    """The group of each image that is listed, and what else is."""
    names = [name for _, name, _ in lines]
    exact = set(ids).intersection(names)
    listed: dict[str, str] = {}
    others: list[str] = []
    for (number, name, group), meant in zip(lines, match_names(names, ids), strict=True):
        if len(meant) > 1:
            raise InputError(
                f"--group expects names of one image each, received {name!r} in line {number} of "
                f"{path}, which may be {meant[0]!r} or {meant[1]!r}; give its folder and suffix"
            )
        if not meant or (name not in exact and meant[0] in exact):
            others.append(name)  # an image that has its own line is not meant by a like name
            continue
        if meant[0] in listed:
            raise InputError(
                f"--group expects each image once, received {name!r} again in line {number} of "
                f"{path}; remove one"
            )
        listed[meant[0]] = group
    return listed, others


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise InputError(
            f"--group expects an existing .csv file or a regular expression, received {path!r}: "
            f"{error.strerror}; check the path"
        ) from None

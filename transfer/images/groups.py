"""Which images belong together: of one patient, one clip, one camera."""

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from transfer.errors import InputError


def groups_of(ids: np.ndarray, option: str | None, part: bool = False) -> np.ndarray | None:
    r"""Finds the group of each image.

    Args:
        ids: `(rows,)` str, the images.
        option: A regular expression that is searched in each id: the group is what its capture
            groups match, or the whole match where it has none. Or the path of a .csv file with
            two columns, image and group; a first line whose image is none of the ids is a header.
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


def _matched(ids: np.ndarray, expression: str) -> list[str]:
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


def _listed(ids: np.ndarray, path: str, part: bool) -> list[str]:
    known = set(ids)
    listed = _mapping(_lines(path), known, path)
    if missing := [id for id in ids if id not in listed]:
        raise InputError(
            f"--group expects a group of each image, received none of {len(missing):,} of "
            f"{len(ids):,} in {path}, such as {missing[0]!r}; add them"
        )
    if not part and (unknown := [id for id in listed if id not in known]):
        raise InputError(
            f"--group expects images of the data, received {len(unknown):,} others in {path}, "
            f"such as {unknown[0]!r}; remove them"
        )
    return [listed[id] for id in ids]


def _mapping(lines: Sequence[list[str]], known: set[str], path: str) -> Mapping[str, str]:
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        if len(line) != 2 or not all(line):
            raise InputError(
                f"--group expects two columns, image and group, received {len(line)} in line "
                f"{number} of {path}, or an empty one: {','.join(line)!r}; mend it"
            )
        id, group = line
        if number == 1 and id not in known:  # a header
            continue
        if id in listed:
            raise InputError(
                f"--group expects each image once, received {id!r} again in line {number} of "
                f"{path}; remove one"
            )
        listed[id] = group
    return listed


def _lines(path: str) -> list[list[str]]:
    try:
        text = io.StringIO(_read(path).decode("utf-8-sig"), newline="")
        return [[cell.strip() for cell in line] for line in csv.reader(text)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"--group expects a .csv file in UTF-8, received {path}: {error}; save it as such"
        ) from None


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise InputError(
            f"--group expects an existing .csv file or a regular expression, received {path!r}: "
            f"{error.strerror}; check the path"
        ) from None

"""Tables that people write: a .csv file's rows, its columns by name, and the images it names."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from transfer.errors import InputError
from transfer.images.file_names import without_suffix

IMAGE_COLUMNS = (
    *("file", "filename", "filepath", "path", "image", "imagename", "imagefile", "imagepath"),
    *("imageid", "id", "img"),
)
"""What the column of images may be called, for `find_column`; the first in this order counts."""
LABEL_COLUMNS = (
    *("label", "labels", "class", "classname", "labelname", "category", "species", "target"),
    "breed",
)
"""Likewise the column of classes."""

_DELIMITERS = (",", ";", "\t")
_SAMPLE = 100  # rows that tell the delimiter
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Table(NamedTuple):
    """What a file of rows holds, without blanks around cells, blank rows, blank columns at the end.

    Attributes:
        header: Cells of the first row, whether they name columns or not.
        rows: Cells of the others; rows may differ in length.
        lines: The line of the file that each of `rows` ends in, from 1.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_table(path: Path) -> Table:
    """Reads a table separated by comma, semicolon or tab.

    Spreadsheets' habits are understood: a byte order mark in front, UTF-16 where such a mark says
    so, rows of nothing but delimiters at the end.

    Raises:
        InputError: If the file cannot be read or is no text in UTF-8; an empty one has an empty
            header and no rows.
    """
    try:
        data = path.expanduser().read_bytes()
        text = data.decode("utf-16" if data.startswith(_UTF_16_MARKS) else "utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"expected a CSV file in UTF-8, received {path}: {reason}; save it as such"
        ) from None
    filled = [(line, row) for line, row in numbered if any(row)]
    places = (place for _, row in filled for place, cell in enumerate(row, 1) if cell)
    width = max(places, default=0)
    (_, header), *rest = filled or [(1, [])]
    return Table(header[:width], [row[:width] for _, row in rest], [line for line, _ in rest])


def find_column(header: Sequence[str], names: Iterable[str]) -> int | None:
    """The place of the first of some names in a header; None where it has none of them.

    Case, blanks, `_`, `-` and `.` make no difference: `File Name` is `filename`.
    """
    keys = [_plain(cell) for cell in header]
    return next((keys.index(_plain(name)) for name in names if _plain(name) in keys), None)


def match_names(names: Sequence[str], ids: Iterable[str], whole: bool = False) -> list[list[str]]:
    r"""Finds which image each name in a table means.

    The strictest reading that fits any image counts: the name as it is, in another case, without
    the suffix. Either may have more folders in front: `photos/cats/1.jpg` and `1.jpg` both mean
    `cats/1.jpg`.

    Args:
        names: From a table; `\` parts folders as `/` does.
        ids: POSIX paths of images.
        whole: Whether both have the same folders in front.

    Returns:
        For each name the ids that it may mean: one where it is clear, none where there is no such
        image, several where it is ambiguous.
    """
    ids = list(ids)
    known = set(ids)
    found = [[name] if name in known else [] for name in names]
    for reading in _READINGS:
        open_rows = [row for row, candidates in enumerate(found) if not candidates]
        if not open_rows:
            break
        by_path, by_tail = _indexed(ids, reading)
        for row in open_rows:
            key = reading(names[row])
            found[row] = by_path.get(key, [])
            if not found[row] and not whole:
                tails = (by_path.get(tail, []) for tail in _tails(key))
                found[row] = by_tail.get(key) or next(filter(None, tails), [])
    return found


def _delimiter(text: str) -> str:
    """The delimiter by which most rows have as many cells as the first, which has several."""

    def agreeing(delimiter: str) -> int:
        rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _SAMPLE))
        width = len(rows[0]) if rows else 0
        return sum(len(row) == width for row in rows) if width > 1 else 0

    return max(_DELIMITERS, key=agreeing)


def _plain(name: str) -> str:
    return name.casefold().translate(dict.fromkeys(map(ord, " _-.")))


def _posix(name: str) -> str:
    # macOS stores "é" as two code points, tables usually as one.
    return normalize("NFC", name.replace("\\", "/").removeprefix("./"))


_READINGS: tuple[Callable[[str], str], ...] = (
    _posix,
    lambda name: _posix(name).casefold(),
    lambda name: without_suffix(_posix(name).casefold()),
)
"""What is compared of a name, from the strictest to the most forgiving."""


def _indexed(
    ids: Iterable[str], reading: Callable[[str], str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    by_path, by_tail = defaultdict(list), defaultdict(list)
    for id in ids:
        key = reading(id)
        by_path[key].append(id)
        for tail in _tails(key):
            by_tail[tail].append(id)
    return by_path, by_tail


def _tails(path: str) -> list[str]:
    """What is left of a path without its first folder, its first two, and so on."""
    parts = path.split("/")
    return ["/".join(parts[depth:]) for depth in range(1, len(parts))]

"""Tables of typed values as text: one JSON object a line, or .parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transfer.errors import InputError
from transfer.images.parquet import open_parquet
from transfer.images.tables import Table, find_column

Kinds = Iterable[Iterable[str]]
"""Names that columns of each kind may have; cells of other columns are left empty."""


def read_jsonl(path: Path, kinds: Kinds) -> Table:
    """Reads a file of one JSON object a line.

    Raises:
        InputError: If it cannot be read, a line is no object, or a cell that counts is no text or
            number.
    """
    rows, lines = [], []
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"expected JSON in UTF-8, received {path}: {reason}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"{path} expects one JSON object a line, received {line.strip()[:60]!r} in line "
                f"{number}; mend it"
            )
        rows.append(row)
        lines.append(number)
    header = list(dict.fromkeys(name for row in rows for name in row))
    return _as_table(path, header, rows, lines, _counting(header, kinds))


def read_parquet(path: Path, kinds: Kinds) -> Table:
    """Reads the columns of a .parquet file that count; rows are numbered as lines.

    Raises:
        InputError: As `read_jsonl`, or if pyarrow is not installed.
    """
    with open_parquet(path) as file:
        header = file.schema_arrow.names
        counting = _counting(header, kinds)
        rows = file.read(columns=counting).to_pylist()
    return _as_table(path, header, rows, list(range(1, len(rows) + 1)), counting)


def as_text(value: Any) -> str:
    """A value as a table of text would have it: 1 and 1.0 as "1", nothing and NaN as "".

    Raises:
        TypeError: If it is a list or an object.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict | bytes):
        raise TypeError(f"a {type(value).__name__}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _counting(header: Sequence[str], kinds: Kinds) -> list[str]:
    places = (find_column(header, names) for names in kinds)
    return [header[place] for place in places if place is not None]


def _as_table(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    lines: list[int],
    counting: Sequence[str],
) -> Table:
    cells = []
    for line, row in zip(lines, rows, strict=True):
        try:
            cells.append([as_text(row.get(n)) if n in counting else "" for n in header])
        except TypeError as error:
            raise InputError(
                f"{path} expects a text or a number in {', '.join(counting)}, received {error} in "
                f"line {line}; mend it"
            ) from None
    return Table(list(header), cells, lines)

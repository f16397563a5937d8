"""Results on disk as JSON, and tables on the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cache.durable import whole_file


def as_json(values: Mapping[str, Any]) -> str:
    """JSON that holds numbers only, no NaN."""
    return json.dumps(values, indent=1, allow_nan=False, default=str) + "\n"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes `as_json`; the file is whole or absent."""
    with whole_file(path) as temporary:
        temporary.write_text(as_json(values))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table; numbers stand to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console = Console()
    # A pipe has no width of its own; a folded table would be of no use to a program. Names of
    # files may hold what rich would take for a style or a picture: [red], :cat:.
    width = None if console.is_terminal else 160
    Console(width=width, markup=False, emoji=False).print(table)


def _is_number(value: object) -> bool:
    try:
        float(str(value).replace(",", "").rstrip("%") or "nan")
    except ValueError:
        return False
    return True

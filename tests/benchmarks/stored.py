"""What earlier runs of `make bench` measured, in one file, and what has become worse since."""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROUNDING = 0.01
"""Ratios are kept to this."""

Row = dict[str, Any]


def read_rows(path: Path) -> dict[str, Row]:
    """Rows by what they measure; none where there is no file."""
    if not path.exists():
        return {}
    return {row["what"]: row for row in json.loads(path.read_text(encoding="utf-8"))}


def write_rows(path: Path, stored: Mapping[str, Row], rows: Sequence[Row]) -> None:
    """Writes all rows, each as it was last measured, with the day."""
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    dated = {row["what"]: row | {"day": day} for row in rows}
    path.parent.mkdir(exist_ok=True)
    merged = list((dict(stored) | dated).values())
    path.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")


def in_words(row: Row, stored: Mapping[str, Row]) -> str:
    """What a row is beside its goal and its stored figure; empty if there is nothing to say.

    A ratio has fallen if it lies below the stored one by more than either's spread: what differs
    less, chance may have made.
    """
    said = ["below its goal"] if row["goal"] is not None and row["ratio"] < row["goal"] else []
    before = stored.get(row["what"])
    if before is not None:
        spread = max(_spread(before), _spread(row), ROUNDING)
        if round(before["ratio"] - row["ratio"] - spread, 2) > 0:
            said.append(f"fell from {before['ratio']} of {before['day']}")
    return ", ".join(said)


def _spread(row: Row) -> float:
    """From the lowest to the highest; of a single figure none is known."""
    return row["highest"] - row["lowest"] if row["lowest"] is not None else 0.0

"""Predictions as entries, one an image, and entries as text."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from transfer.classifier import top_classes
from transfer.names import readable

Entry = dict[str, Any]
SUFFIXES = (".csv", ".json", ".jsonl")
"""Of files that `as_text` makes."""


def entries_of(
    ids: Sequence[str], probabilities: np.ndarray, class_names: Sequence[str], top: int
) -> list[Entry]:
    """What is said of some images.

    Args:
        ids: Of the images.
        probabilities: `(images, classes)` float.
        class_names: One per class.
        top: How many classes to name, best first.

    Returns:
        One entry an image: its path, the best class, its probability, and the top classes.
    """
    return [
        {
            "image": readable(id),
            "class": best[0][0],
            "probability": round(best[0][1], 6),
            "top": [{"class": name, "probability": round(value, 6)} for name, value in best],
        }
        for id, best in zip(ids, top_classes(probabilities, class_names, top), strict=True)
    ]


def add_verdicts(
    entries: Sequence[Entry], strangeness: np.ndarray, nearest: Sequence[Sequence[str]]
) -> None:
    """Adds what a classifier that says when it does not know says.

    Args:
        entries: From `entries_of`; changed.
        strangeness: `(images,)`, above 1 for an image that counts as unknown.
        nearest: Ids of the training images that are nearest to each.
    """
    for entry, value, ids in zip(entries, strangeness.tolist(), nearest, strict=True):
        entry["unknown"] = value > 1
        entry["strangeness"] = round(value, 4)
        entry["nearest"] = [readable(id) for id in ids]


def columns(entry: Entry) -> dict[str, Any]:
    """An entry as a row of a table, by the names of columns."""
    row = {"image": entry["image"]}
    for rank, one in enumerate(entry["top"], start=1):
        row |= {f"class_{rank}": one["class"], f"probability_{rank}": one["probability"]}
    if "unknown" in entry:
        row |= {"unknown": "yes" * entry["unknown"], "strangeness": entry["strangeness"]}
        row |= {f"nearest_{rank}": id for rank, id in enumerate(entry["nearest"], start=1)}
    return row


def as_text(entries: Sequence[Entry], suffix: str, begins: bool) -> str:
    """The piece of a file that some entries are.

    Args:
        entries: At least one.
        suffix: Of the file, one of `SUFFIXES`.
        begins: Whether they are the first; pieces follow one another, and `ENDINGS` the last.
    """
    if suffix == ".csv":
        text = io.StringIO()
        rows = csv.DictWriter(text, list(columns(entries[0])))
        if begins:
            rows.writeheader()
        rows.writerows(map(columns, entries))
        return text.getvalue()
    if suffix == ".jsonl":
        return "".join(f"{json.dumps(entry)}\n" for entry in entries)
    listed = json.dumps(entries, indent=1).removeprefix("[").removesuffix("\n]")
    return f"[{listed}" if begins else f",{listed}"


ENDINGS = {".csv": "", ".jsonl": "", ".json": "\n]\n"}
"""What ends a file, by its suffix."""

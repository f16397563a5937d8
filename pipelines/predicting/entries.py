"""Predictions as entries, one an image, and entries as text."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from pipelines.knowing import nearest_ids
from pipelines.scoring import Scored
from transfer.classifier import top_classes
from transfer.images.imageset import ImageSet
from transfer.knowing.knowledge import Knowledge
from transfer.names import readable

Entry = dict[str, Any]
SUFFIXES = (".csv", ".json", ".jsonl")
"""Of files that `as_text` makes."""


def entries_of(
    images: ImageSet,
    scored: Scored,
    class_names: Sequence[str],
    knowledge: Knowledge | None,
    top: int,
) -> list[Entry]:
    """What is said of some images.

    Args:
        images: Which.
        scored: What a classifier says of some rows of them.
        class_names: One per class.
        knowledge: What the classifier knows, if that is known.
        top: How many classes to name, best first.

    Returns:
        One entry an image: its path, the best class, its probability, and the top classes; with
        knowledge, whether it is unknown, how strange it is, and the ids of the training images
        that are nearest to it.
    """
    named = top_classes(scored.probabilities, class_names, top)
    entries: list[Entry] = [
        {
            "image": readable(id),
            "class": best[0][0],
            "probability": round(best[0][1], 6),
            "top": [{"class": name, "probability": round(value, 6)} for name, value in best],
        }
        for id, best in zip(images.ids[scored.rows], named, strict=True)
    ]
    if knowledge is not None and scored.features is not None:
        verdicts = knowledge.judge(scored.probabilities, scored.features)
        nearest = nearest_ids(knowledge, verdicts)
        for entry, value, ids in zip(entries, verdicts.strangeness.tolist(), nearest, strict=True):
            entry["unknown"] = value > 1
            entry["strangeness"] = round(value, 4)
            entry["nearest"] = [readable(id) for id in ids]
    return entries


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

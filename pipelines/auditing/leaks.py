"""Test scores with and without images whose twin was learned from, where an audit says which."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cache import FeatureFile

SUMMARY = "audit.json"
"""In a run's folder: what an audit found, in short, and which images show the same."""
LEARNED = {"test": ("train", "val"), "val": ("train",), "train": ()}
"""Splits that models may have learned from before they are scored on one."""


def leaked_rows(run_folder: Path, features: FeatureFile, split: np.ndarray, scored: str) -> Any:
    """Which of the rows that are scored show what a row shows that was learned from.

    Args:
        run_folder: Where an audit may lie.
        features: Of the images that are scored.
        split: `(rows,)` of "train", "val" and "test".
        scored: The split in question.

    Returns:
        `(scored rows,)` bool; None where there is no audit of these images, which is said where
        there is one of others.
    """
    path = run_folder / SUMMARY
    if not path.exists():
        return None
    audit = json.loads(path.read_text(encoding="utf-8"))
    if audit["features"] != features.key:
        print("evaluate: the audit is of other images and is not used; run `transfer audit` again")
        return None
    rows = {id: row for row, id in enumerate(features.ids)}
    leaked = np.zeros(len(features), bool)
    for twins in audit["twins"]:
        places = [rows[id] for id in twins]
        leaked[places] = bool(set(split[places]) & set(LEARNED[scored]))
    return leaked[split == scored]


def scores_without(
    leaked: np.ndarray | None, probabilities: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, Any]:
    """Says what scores are without leaked rows.

    Args:
        leaked: From `leaked_rows`; None says nothing.
        probabilities: Per model `(rows, classes)`.
        labels: `(rows,)`.

    Returns:
        For `evaluation-*.json`: how many rows are leaked, and per model the accuracy without them.
    """
    if leaked is None:
        return {}
    kept = ~leaked
    result: dict[str, Any] = {"leaked": int(leaked.sum())}
    if not leaked.any():
        print("evaluate: by the audit none of these images shows what was learned from")
        return result
    hits = {name: values.argmax(1) == labels for name, values in probabilities.items()}
    if kept.any():
        result["accuracy_without_leaked"] = {
            name: float(hit[kept].mean()) for name, hit in hits.items()
        }
    said = "".join(
        f"; {name} {result['accuracy_without_leaked'][name]:.4f} without them, "
        f"{hit.mean():.4f} with"
        for name, hit in hits.items()
        if kept.any()
    )
    print(
        f"evaluate: by the audit {leaked.sum():,} of {len(leaked):,} images show what was "
        f"learned from{said}"
    )
    return result

"""The part of a page that shows images as points, those near that look alike to the backbone."""

from typing import Any

import numpy as np

from pipelines.knowing import read_means, sample
from pipelines.pages.thumbnails import Thumbnails
from pipelines.progress import waiting
from pipelines.reporting.left import Left
from transfer.knowing.maps import LEAST, neighbours_map, principal_components

MOST = 2_000
"""Images on a map; of more, all mistakes and a sample of the others."""


def feature_map(left: Left, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """What this part shows: images of the split that is scored, by the topmost cut's features."""
    features = left.features
    if features is None:
        return None
    rows = np.flatnonzero(left.split == left.split_name)
    predicted = _predicted(left)
    rows = _few(rows, features.labels, predicted)
    if len(rows) < LEAST:
        return None
    with waiting("drawing a map"):
        components = principal_components(read_means(features, features.cuts[-1], rows))
        places = {"t-SNE": neighbours_map(components), "PCA": components[:, :2]}
    thumbnails.want(rows)
    labels = features.labels[rows].tolist()
    return {
        "split": left.split_name,
        "names": list(features.class_names),
        "of": int((left.split == left.split_name).sum()),
        "rows": rows.tolist(),
        "ids": features.ids[rows].tolist(),
        "labels": labels,
        "predicted": [
            predicted.get(row, label) for row, label in zip(rows.tolist(), labels, strict=True)
        ],
        "places": {name: _scaled(one).tolist() for name, one in places.items()},
    }


def _predicted(left: Left) -> dict[int, int]:
    """By row what the last stage's model took an image for."""
    said = left.predictions
    if said is None:
        return {}
    last = list(said.probabilities.values())[-1].argmax(axis=1).tolist()
    return {left.row_of[id]: guess for id, guess in zip(said.ids, last, strict=True)}


def _few(rows: np.ndarray, labels: np.ndarray, predicted: dict[int, int]) -> np.ndarray:
    wrong = np.array([predicted.get(row, labels[row]) != labels[row] for row in rows.tolist()])
    if len(rows) <= MOST:
        return rows
    mistaken, others = rows[wrong][:MOST], rows[~wrong]
    return np.union1d(mistaken, others[sample(others, MOST - len(mistaken))])


def _scaled(places: np.ndarray) -> np.ndarray:
    """Into 0 to 1000, rounded to a tenth, so that a page stays small."""
    if places.shape[1] < 2:
        places = np.hstack([places, np.zeros((len(places), 1))])
    places = places.astype(np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    return np.round(1000 * (places - low) / np.maximum(high - low, 1e-9), 1)

"""The part of a page on what classifiers got wrong, and how sure they were."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache import FeatureFile
from pipelines.evaluating.predictions import Predictions
from pipelines.knowing import read_means
from pipelines.pages.charts import Chart, chart
from pipelines.pages.thumbnails import Thumbnails
from pipelines.reporting.left import Left
from transfer.calibration import reliability
from transfer.knowing.knowledge import directions_of
from transfer.metrics import SMALLEST_PROBABILITY

WORST = 24
"""Images that are shown with the highest loss."""
NEAREST = 3
"""Training images that are shown beside each."""
MATRIX_UP_TO = 30
"""Classes of which the whole confusion is shown; of more the most frequent mistakes."""
MOST_PAIRS = 40
A_CELL = 24
"""Images of a cell of the confusion that a click shows."""
BLOCK = 4096
"""Training images whose features are compared at a time."""


@dataclass(frozen=True)
class Said:
    """What a classifier said of an image.

    Attributes:
        row: Of the image, in the feature file.
        id: Its id.
        true: Its class.
        predicted: What it was taken for.
        probability: Of that.
        of_truth: Of its own class.
        nearest: Rows and ids of training images that are nearest to it.
    """

    row: int
    id: str
    true: str
    predicted: str
    probability: float
    of_truth: float
    nearest: list[tuple[int, str]]


@dataclass(frozen=True)
class Cell:
    """A count of the confusion.

    Attributes:
        true: Name of the true class.
        predicted: Name of what images were taken for.
        count: How many.
        share: Of the true class's images.
        rows: Of some of them, the surest first.
        right: Whether both classes are the same.
    """

    true: str
    predicted: str
    count: int
    share: float
    rows: list[int]
    right: bool


def mistakes(left: Left, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """What this part shows, a block per model; None before an evaluation."""
    said = left.predictions
    if said is None or left.evaluation is None or left.features is None:
        return None
    rows = np.array([left.row_of[id] for id in said.ids])
    learned = np.flatnonzero(left.split == "train")
    models = [
        _of_model(left, said, model, rows, learned, thumbnails) for model in said.probabilities
    ]
    return {"split": said.split, "models": models[::-1]}  # the last stage's first


def _of_model(
    left: Left,
    said: Predictions,
    model: str,
    rows: np.ndarray,
    learned: np.ndarray,
    thumbnails: Thumbnails,
) -> dict[str, Any]:
    assert left.evaluation is not None
    assert left.features is not None
    told = left.evaluation["models"][model]
    names = said.class_names.tolist()
    cells = _cells(said, model, rows)
    wrong = [cell for cell in cells.values() if not cell.right]
    order = sorted(wrong, key=lambda cell: (-cell.count, cell.true, cell.predicted))
    pairs = order[:MOST_PAIRS]
    matrix = _matrix(names, cells) if len(names) <= MATRIX_UP_TO else None
    for cell in pairs if matrix is None else cells.values():
        thumbnails.want(cell.rows)
    return {
        "name": model,
        "wrong": int((~said.right(model)).sum()),
        "images": len(said.ids),
        "names": names,
        "matrix": matrix,
        "pairs": pairs,
        "worst": list(_worst(said, model, rows, learned, left.features, thumbnails)),
        "classes": told["per_class"],
        "reliability": _reliability(said, model),
        "calibration_error": told["calibration_error"],
    }


def _cells(said: Predictions, model: str, rows: np.ndarray) -> dict[tuple[int, int], Cell]:
    """By numbers of the true class and of what images were taken for; those that occur."""
    names = said.class_names.tolist()
    predicted = said.probabilities[model].argmax(axis=1).tolist()
    surest = said.probabilities[model].max(axis=1)
    of_class = np.bincount(said.labels, minlength=len(names)).tolist()
    where: dict[tuple[int, int], list[int]] = {}
    for at in np.argsort(-surest, kind="stable").tolist():
        where.setdefault((int(said.labels[at]), predicted[at]), []).append(at)
    return {
        (true, guess): Cell(
            names[true],
            names[guess],
            len(here),
            len(here) / of_class[true],
            rows[here[:A_CELL]].tolist(),
            true == guess,
        )
        for (true, guess), here in where.items()
    }


def _matrix(names: list[str], cells: dict[tuple[int, int], Cell]) -> list[list[Cell]]:
    """A line for each true class; cells that do not occur are empty."""
    return [
        [
            cells.get((true, guess)) or Cell(names[true], names[guess], 0, 0.0, [], true == guess)
            for guess in range(len(names))
        ]
        for true in range(len(names))
    ]


def _worst(
    said: Predictions,
    model: str,
    rows: np.ndarray,
    learned: np.ndarray,
    features: FeatureFile,
    thumbnails: Thumbnails,
) -> Iterator[Said]:
    """The mistakes with the highest loss, with the training images that look most like them."""
    probabilities, names = said.probabilities[model], said.class_names.tolist()
    of_truth = probabilities[np.arange(len(rows)), said.labels]
    wrong = np.flatnonzero(~said.right(model))
    order = wrong[np.argsort(of_truth[wrong], kind="stable")][:WORST]
    near = nearest_rows(features, rows[order], learned, NEAREST)
    for at, beside in zip(order.tolist(), near.tolist(), strict=True):
        guess = int(probabilities[at].argmax())
        row = int(rows[at])
        thumbnails.want([row, *beside])
        yield Said(
            row,
            str(said.ids[at]),
            names[said.labels[at]],
            names[guess],
            float(probabilities[at, guess]),
            max(float(of_truth[at]), SMALLEST_PROBABILITY),
            [(other, str(features.ids[other])) for other in beside],
        )


def nearest_rows(
    features: FeatureFile, rows: np.ndarray, among: np.ndarray, count: int
) -> np.ndarray:
    """The rows most like some rows, by the directions of the topmost cut's features.

    Args:
        features: Of all images.
        rows: `(images,)` row numbers.
        among: `(others,)` increasing row numbers to choose from.
        count: How many of each.

    Returns:
        `(images, count)` row numbers, the nearest first; fewer columns where there are fewer.
    """
    cut = features.cuts[-1]
    wanted = directions_of(read_means(features, cut, rows)) if len(rows) else np.empty((0, 1))
    best = np.empty((len(rows), 0), np.float32)
    where = np.empty((len(rows), 0), np.int64)
    for start in range(0, len(among) if len(rows) else 0, BLOCK):
        block = among[start : start + BLOCK]
        products = wanted @ directions_of(read_means(features, cut, block)).T
        best = np.concatenate([best, products], axis=1)
        where = np.concatenate([where, np.broadcast_to(block, products.shape)], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(best, order, axis=1)
        where = np.take_along_axis(where, order, axis=1)
    return where


def _reliability(said: Predictions, model: str) -> Chart:
    from transfer.pictures.reliability import plot_reliability

    probabilities = said.probabilities[model]
    curve = reliability(probabilities, said.labels)
    alt = (
        "Share of images that are right against the probability of the class that is named: "
        + "; ".join(
            f"{right:.2f} at {sure:.2f}"
            for sure, right in zip(curve.confidence, curve.accuracy, strict=True)
        )
    )
    title = f"{model}, {said.split} split"
    return chart(plot_reliability, {"as it is": curve}, probabilities.max(1), alt=alt, title=title)

"""How good a classifier is on one split: scores, scores per class, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transfer.calibration import at_temperature
from transfer.errors import InputError

TOP_K = 5
CALIBRATION_BINS = 15

# What Keras's cross-entropy clips probabilities at, so that losses here and there agree.
# Source: keras.config.epsilon(), https://keras.io/api/utils/config_utils/
SMALLEST_PROBABILITY = 1e-7

# Wide enough for the rounding of half-precision softmax, narrow enough to refuse logits.
SUM_TOLERANCE = 0.01


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class, each 0-1; one that would be 0/0 is 0.

    `support` is the number of images whose true class this is.
    """

    class_name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One classifier on one split.

    Attributes:
        split: Name of the split, e.g. `test`.
        num_images: Rows that were scored.
        accuracy: Share of images whose most probable class is the true one.
        top5: Share of images whose true class is among the five most probable; None with fewer
            than six classes, where it says little or nothing.
        balanced_accuracy: Mean over the classes with images of the share that is right.
        loss: Mean cross-entropy in nats, probabilities clipped at 1e-7 from below as in Keras.
        calibration_error: Expected calibration error, 0-1: how far the probability of the most
            probable class is from the share of images that are right, see `calibration_error`.
        uncalibrated_error: The same without the classifier's temperature.
        per_class: One entry a class, in the order of the class names.
        confusion: `(num_classes, num_classes)` int64 counts, rows true, columns predicted.
    """

    split: str
    num_images: int
    accuracy: float
    top5: float | None
    balanced_accuracy: float
    loss: float
    calibration_error: float
    uncalibrated_error: float
    per_class: tuple[ClassScores, ...]
    confusion: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Returns everything as dicts, lists, strings and finite numbers."""
        return {
            "split": self.split,
            "num_images": self.num_images,
            "accuracy": self.accuracy,
            "top5": self.top5,
            "balanced_accuracy": self.balanced_accuracy,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "uncalibrated_error": self.uncalibrated_error,
            "per_class": [asdict(scores) for scores in self.per_class],
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    split: str,
    temperature: float = 1.0,
) -> Evaluation:
    """Scores predicted probabilities against true labels.

    Of equal probabilities the class with the lower number counts as the more probable one.

    Args:
        probabilities: `(rows, num_classes)` float in 0-1, each row summing to 1; two columns for
            two classes, also where the model ends in one sigmoid.
        labels: `(rows,)` integers from 0 to num_classes - 1.
        class_names: One name a column.
        split: Name of the split, kept in the result.
        temperature: By which the classifier divides its logits.

    Raises:
        ValueError: If shapes or values are not these. Says expected and received.
        InputError: If a probability is NaN or infinite, because training diverged.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    _check_shapes(probabilities, labels, class_names)
    _check_values(probabilities, labels, class_names)
    probabilities = probabilities.astype(np.float64)

    num_images, num_classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    classes = np.arange(num_classes)
    # A class nobody is in (recall 0/0) or nobody is put in (precision 0/0) scores 0.
    scores = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0.0)
    return Evaluation(
        split=split,
        num_images=num_images,
        accuracy=float(np.mean(predicted == labels)),
        top5=_top_k(probabilities, labels) if num_classes > TOP_K else None,
        balanced_accuracy=float(scores[1][scores[3] > 0].mean()),
        loss=cross_entropy(probabilities, labels),
        calibration_error=calibration_error(probabilities, labels),
        uncalibrated_error=calibration_error(
            at_temperature(probabilities, 1 / temperature), labels
        ),
        per_class=tuple(
            ClassScores(str(name), float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(class_names, *scores, strict=True)
        ),
        confusion=confusion_matrix(labels, predicted, labels=classes).astype(np.int64),
    )


def most_confused(evaluation: Evaluation, count: int = 5) -> list[tuple[str, str, int]]:
    """Returns the most frequent mistakes as (true name, predicted name, images), most first.

    Only mistakes that occurred are listed; equally frequent ones come in class order.
    """
    mistakes = evaluation.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    names = [scores.class_name for scores in evaluation.per_class]
    pairs = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [(names[t], names[p], int(mistakes[t, p])) for t, p in pairs if mistakes[t, p] > 0]


def _top_k(probabilities: np.ndarray, labels: np.ndarray) -> float:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP_K]
    return float(np.mean((best == labels[:, None]).any(axis=1)))


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy, of probabilities clipped at `SMALLEST_PROBABILITY`.

    Args:
        probabilities: `(rows, num_classes)`.
        labels: `(rows,)` integers.

    Returns:
        Nats.
    """
    return float(cross_entropies(probabilities, labels).mean())


def cross_entropies(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`(rows,)` what `cross_entropy` is the mean of."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return 0 - np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: confidence against accuracy in 15 equal bins of confidence.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017. Few
    images make it larger than it is: where 80 % are right and all probabilities are true, 150
    images give 0.075, 1,000 give 0.03 and 10,000 give 0.01.

    Args:
        probabilities: `(rows, num_classes)`.
        labels: `(rows,)` integers.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence)
    return float(np.abs(gaps).sum() / len(labels))


def _check_shapes(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    num_classes = len(class_names)
    if num_classes < 2:
        raise ValueError(f"expected at least 2 class names, received {num_classes}")
    if probabilities.ndim != 2 or probabilities.shape[1] != num_classes or not len(probabilities):
        raise ValueError(
            f"expected probabilities of shape (rows, {num_classes}) with at least one row, "
            f"received {probabilities.shape}"
        )
    if labels.shape != (len(probabilities),):
        raise ValueError(
            f"expected labels of shape ({len(probabilities)},), one for each row of "
            f"probabilities, received {labels.shape}"
        )


def _check_values(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"expected integer labels, received {labels.dtype}")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise ValueError(
            f"expected labels from 0 to {len(class_names) - 1}, "
            f"received {labels.min()} to {labels.max()}"
        )
    bad_rows = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad_rows):
        raise InputError(
            f"expected finite probabilities, received NaN or infinity in {len(bad_rows)} of "
            f"{len(probabilities)} rows, the first is row {bad_rows[0]}: the training diverged, "
            "lower the learning rate"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > SUM_TOLERANCE:
        raise ValueError(
            "expected probabilities from 0 to 1 whose rows sum to 1, received values from "
            f"{probabilities.min():.4g} to {probabilities.max():.4g}, rows summing to "
            f"{sums.min():.4g} to {sums.max():.4g}: apply softmax to logits first"
        )


def standard_error(values: np.ndarray) -> float:
    """Of the mean of `(n,)` values; infinite for fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf

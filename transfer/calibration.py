"""How true probabilities are, and the thresholds at which classes are as sure as is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transfer.errors import InputError

MOST_BINS, LEAST_IN_A_BIN = 10, 10
LEAST_SURE = 20
"""Images above a threshold, of those it was chosen by; with fewer it is as good as a guess."""
CONFIDENCE = 1.96
"""Standard deviations of a normal distribution that 95 % lie within."""


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """What a softmax would have said, had its logits been divided by a temperature more.

    Where several views were averaged it is that of one view that says their mean.

    Args:
        probabilities: `(images, classes)` float, rows that sum to one; a sigmoid's two columns.
        temperature: Above 0; 1 / T undoes what was divided by T.

    Returns:
        The same shape, float64.
    """
    # The classes' order and certainties stay, were even all of a row at a limit of float32.
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny))
    logs = (logs - logs.max(axis=1, keepdims=True)) / temperature
    powers = np.exp(logs)
    return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against truth, in bins of about equally many images.

    Attributes:
        confidence: `(bins,)` mean probability of the most probable class.
        accuracy: `(bins,)` share of images that are right.
        low: `(bins,)` lower end of the accuracy's 95 % interval.
        high: `(bins,)` its upper end.
        images: `(bins,)` how many.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    images: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """Compares how sure a classifier is with how often it is right.

    Bins have equally many images, at least ten: in bins of equal width most would be empty, since
    good classifiers are sure of nearly all. Intervals are Wilson's.

    Args:
        probabilities: `(images, classes)`.
        labels: `(images,)` integers.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    count = min(MOST_BINS, max(1, len(order) // LEAST_IN_A_BIN))
    bins = np.array_split(order, count)
    accuracy = np.array([right[rows].mean() for rows in bins])
    images = np.array([len(rows) for rows in bins])
    low, high = wilson_interval(accuracy, images)
    return Reliability(
        np.array([confidence[rows].mean() for rows in bins]), accuracy, low, high, images
    )


def wilson_interval(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of shares of counts.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    spread = CONFIDENCE**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = CONFIDENCE / (1 + spread) * np.sqrt((share * (1 - share) + spread / 4) / count)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


@dataclass(frozen=True)
class Aim:
    """What a class's threshold is for.

    Attributes:
        score: `precision` or `recall`.
        least: Its least value, above 0 and up to 1.
    """

    score: str
    least: float

    def __str__(self) -> str:
        return f"{self.score}={self.least:g}"


def read_aim(text: str) -> Aim:
    """Reads `precision=0.95` or `recall=0.9`.

    Raises:
        InputError: If it is neither.
    """
    score, _, value = text.partition("=")
    try:
        least = float(value)
    except ValueError:
        least = math.nan
    if score not in ("precision", "recall") or not 0 < least <= 1:
        raise InputError(
            "--threshold-for expects precision=SHARE or recall=SHARE, with a share above 0 and up "
            f"to 1, received {text!r}"
        )
    return Aim(score, least)


@dataclass(frozen=True)
class Threshold:
    """From which probability on a class counts.

    Attributes:
        class_name: Of the class.
        threshold: The probability; None where the aim is not reached.
        precision: Of the images at or above it, among those it was chosen by, the share that is of
            the class; None without a threshold.
        recall: Of the class's images the share at or above it; likewise.
        images: How many are at or above it.
    """

    class_name: str
    threshold: float | None
    precision: float | None
    recall: float | None
    images: int

    @property
    def is_sure(self) -> bool:
        """Whether enough images say so."""
        return self.images >= LEAST_SURE


def thresholds_for(
    aim: Aim, probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[Threshold, ...]:
    """Finds each class's threshold: of those that reach the aim the one that costs least.

    That is the lowest for a precision, and the highest for a recall.

    Args:
        aim: What is to be reached.
        probabilities: `(images, classes)`, of images that the classifier has not seen.
        labels: `(images,)` integers.
        class_names: One a column.
    """
    from sklearn.metrics import precision_recall_curve

    lowest = aim.score == "precision"
    found = []
    for number, name in enumerate(class_names):
        of_class = labels == number
        if not of_class.any():
            found.append(Threshold(name, None, None, None, 0))
            continue
        scores = probabilities[:, number]
        precision, recall, thresholds = precision_recall_curve(of_class, scores)
        reached = np.flatnonzero((precision if lowest else recall)[:-1] >= aim.least)
        if not len(reached):
            found.append(Threshold(name, None, None, None, 0))
            continue
        threshold = thresholds[reached[0 if lowest else -1]]
        found.append(at_threshold(name, float(threshold), scores, of_class))
    return tuple(found)


def at_threshold(
    class_name: str, threshold: float, scores: np.ndarray, of_class: np.ndarray
) -> Threshold:
    """What a threshold comes to on some images.

    Args:
        class_name: Of the class.
        threshold: A probability.
        scores: `(images,)` probabilities of the class.
        of_class: `(images,)` whether an image is of it.
    """
    above = scores >= threshold
    hits = int((above & of_class).sum())
    return Threshold(
        class_name,
        threshold,
        hits / above.sum() if above.any() else None,
        hits / of_class.sum() if of_class.any() else None,
        int(above.sum()),
    )

"""How far scores of some images may be from those of all: intervals by drawing images again.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentiles).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transfer.calibration import wilson_interval
from transfer.metrics import cross_entropies

DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % interval.

    Attributes:
        value: Of the images at hand.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def accuracy_interval(right: np.ndarray) -> Interval:
    """Of a share of images that are right, by Wilson, who needs no mistake to know of some.

    Drawn again, 30 images that are all right are all right in each draw.

    Args:
        right: `(images,)` bool.
    """
    share = np.asarray(right.mean())
    low, high = wilson_interval(share, np.asarray(len(right)))
    return Interval(float(share), float(low), float(high))


def balanced_interval(right: np.ndarray, labels: np.ndarray) -> Interval:
    """Of the mean over classes of the share that is right; each class is drawn again by itself.

    Args:
        right: `(images,)` bool.
        labels: `(images,)` integers.
    """
    rng = np.random.default_rng(0)
    of_class = [right[labels == label] for label in np.unique(labels)]
    # How many of n images drawn with replacement are right is binomial.
    draws = [rng.binomial(len(one), one.mean(), DRAWS) / len(one) for one in of_class]
    return _percentiles(float(np.mean([one.mean() for one in of_class])), np.mean(draws, axis=0))


def loss_interval(probabilities: np.ndarray, labels: np.ndarray) -> Interval:
    """Of the mean cross-entropy, nats.

    Args:
        probabilities: `(images, classes)`.
        labels: `(images,)` integers.
    """
    losses = cross_entropies(probabilities.astype(np.float64), labels)
    rng = np.random.default_rng(0)
    means = [losses[rng.integers(0, len(losses), len(losses))].mean() for _ in range(DRAWS)]
    return _percentiles(float(losses.mean()), np.array(means))


def _percentiles(value: float, draws: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(value, float(low), float(high))

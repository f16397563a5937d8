"""Two classifiers on the same images: whether one is surely better, or may only look so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transfer.calibration import CONFIDENCE
from transfer.metrics import cross_entropies, standard_error


@dataclass(frozen=True)
class Comparison:
    """Two classifiers, image by image. Differences are the first's value less the second's.

    Attributes:
        both_right: Images that both class right.
        first_right: Those that only the first does.
        second_right: Those that only the second does.
        both_wrong: Those that neither does.
        accuracy_difference: -1 to 1; above 0 where the first is right more often.
        accuracy_interval: Its 95 % interval, see `paired_interval`.
        accuracy_p: How likely so uneven a count is of classifiers that are equally often right,
            see `mcnemar`.
        loss_difference: Of log loss, in nats; below 0 where the first is better.
        loss_error: Its standard error, over images; infinite for one image.
        loss_p: How likely so large a mean is where none is to be expected, see `paired_t`.
    """

    both_right: int
    first_right: int
    second_right: int
    both_wrong: int
    accuracy_difference: float
    accuracy_interval: tuple[float, float]
    accuracy_p: float
    loss_difference: float
    loss_error: float
    loss_p: float

    @property
    def num_images(self) -> int:
        """How many were compared."""
        return self.both_right + self.first_right + self.second_right + self.both_wrong


def compare(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Comparison:
    """Compares what two classifiers said of the same images.

    Args:
        first: `(images, classes)` probabilities, at least one image.
        second: Likewise, of the same images and classes.
        labels: `(images,)` integers, the true classes.
    """
    one, other = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    losses = cross_entropies(first.astype(float), labels) - cross_entropies(
        second.astype(float), labels
    )
    return Comparison(
        both_right=int((one & other).sum()),
        first_right=only_one,
        second_right=only_other,
        both_wrong=int((~one & ~other).sum()),
        accuracy_difference=(only_one - only_other) / len(labels),
        accuracy_interval=paired_interval(only_one, only_other, len(labels)),
        accuracy_p=mcnemar(only_one, only_other),
        loss_difference=float(losses.mean()),
        loss_error=standard_error(losses),
        loss_p=paired_t(losses),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's test, exact and two-sided, of counts of images that only one of two has right.

    Where both are equally often right, each of these images is as likely the one's as the other's;
    images that both have right, or both wrong, say nothing. Source: McNemar, "Note on the Sampling
    Error of the Difference Between Correlated Proportions or Percentages", Psychometrika, 1947.

    Returns:
        The probability of counts at least as uneven; 1 where there are none.
    """
    from scipy.stats import binomtest

    disagreeing = only_first + only_second
    return float(binomtest(only_first, disagreeing).pvalue) if disagreeing else 1.0


def paired_interval(only_first: int, only_second: int, num_images: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two accuracies on the same images.

    As if two more images had been seen, one that only the first has right and one that only the
    second has; without them the interval is too narrow for few images, and has no width where both
    agree. Source: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data", Journal of Educational and Behavioral Statistics, 2012.

    Args:
        only_first: Images that only the first has right.
        only_second: Those that only the second has.
        num_images: All, at least one.

    Returns:
        Lower and upper end, within -1 to 1.
    """
    one, other = (only_first + 1) / (num_images + 2), (only_second + 1) / (num_images + 2)
    difference = one - other
    half = CONFIDENCE * ((one + other - difference**2) / (num_images + 2)) ** 0.5
    return max(difference - half, -1.0), min(difference + half, 1.0)


def paired_t(differences: np.ndarray) -> float:
    """Student's test, two-sided, of whether paired differences have a mean other than zero.

    Source: Student, "The Probable Error of a Mean", Biometrika, 1908. The probability is never less
    than that of all differences having one sign by chance, so that two or three images that happen
    to differ by the same are no proof.

    Args:
        differences: `(images,)` float.
    """
    from scipy.stats import t

    count, mean, error = len(differences), float(differences.mean()), standard_error(differences)
    if mean == 0:
        return 1.0
    ratio = mean / error if error else math.copysign(math.inf, mean)
    return max(float(2 * t.sf(abs(ratio), max(count - 1, 1))), 2.0 ** (1 - count))


def holm(p_values: Sequence[float]) -> list[float]:
    """Probabilities of several tests, corrected for their number.

    The chance that any of those below 0.05 is a false alarm is then 0.05 for all together. Source:
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics, 1979.

    Args:
        p_values: Of the tests, in any order.

    Returns:
        In the same order; none is smaller than it was, nor above 1.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return corrected.tolist()

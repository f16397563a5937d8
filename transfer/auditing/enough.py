"""How many images are enough: accuracy against their number, and what twice as many would bring."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from transfer.choosing.paths import USUAL, Fitted, best_on_path, probabilities_of
from transfer.choosing.problems import MOST_SAMPLES, Problem, Products, in_columns
from transfer.choosing.rows import Rows
from transfer.choosing.standardising import standardised

DRAWS = 4
"""Random orders of the images, of whose beginnings the subsets are; one where fits are slow."""
LEAST_PER_CLASS = 4.0
"""Images per class, on average, of the smallest subset."""
LEAST_SIZES = 3
"""Without so many sizes no curve is drawn."""
TOLERANCE = 1e-3
"""How far above its minimum a fit's objective may end, as a share of it; with 1e-4,
at twice the time, accuracies differed by 0.003 on average, and by 0.015 at most."""
EXPONENTS = np.linspace(0.1, 1.5, 29)
"""Of the power law; learning curves of classifiers have some 0.2 to 0.7."""
RESAMPLINGS = 200

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy against number of images.

    Attributes:
        sizes: `(sizes,)` float64, increasing: images per class that were learned from, on average.
        hits: `(draws, sizes, judging images)` bool: which images were classed right.
        now: Images per class that there are.
    """

    sizes: np.ndarray
    hits: np.ndarray
    now: float

    @property
    def accuracies(self) -> np.ndarray:
        """`(sizes,)`, means over draws, 0-1."""
        return self.hits.mean((0, 2))

    @property
    def errors(self) -> np.ndarray:
        """`(sizes,)` standard errors of the accuracies, of drawing judging images and orders."""
        return self._resampled.std(0)

    @cached_property
    def _resampled(self) -> np.ndarray:
        """`(resamplings, sizes)` accuracies of a bootstrap over judging images and orders."""
        rng = np.random.default_rng(0)
        draws, sizes, judges = self.hits.shape
        values = np.empty((RESAMPLINGS, sizes))
        for row in values:
            some = self.hits[rng.integers(draws, size=draws)].mean(0)
            row[:] = some[:, rng.integers(judges, size=judges)].mean(1)
        return values

    def at(self, size: float) -> tuple[float, float]:
        """Accuracy at another number of images per class, and its standard error.

        The error has two parts: of drawing the judging images and the orders (a bootstrap), and of
        the law itself: how far it is off where the largest size measured is foretold from those up
        to half of it, which is the same step as to twice as many.
        """
        values = [_foretold(self.sizes, accuracies, size) for accuracies in self._resampled]
        last = _foretold(self.sizes[:-1], self.accuracies[:-1], self.sizes[-1])
        off = last - self.accuracies[-1]
        return _foretold(self.sizes, self.accuracies, size), math.hypot(float(np.std(values)), off)


def _foretold(sizes: np.ndarray, accuracies: np.ndarray, size: float) -> float:
    """By the power law that fits best: an error that falls from above to a floor.

    Source: Hestness and others, "Deep Learning Scaling is Predictable, Empirically", 2017.
    """
    from scipy.optimize import nnls

    fits = []
    for exponent in EXPONENTS:
        # Larger subsets were judged as often, but it is they that lead on.
        terms = np.stack([np.ones(len(sizes)), sizes**-exponent], axis=1)
        weights, residual = nnls(terms, 1 - accuracies)
        fits.append((residual, 1 - weights[0] - weights[1] * size**-exponent))
    return float(np.clip(min(fits)[1], 0, 1))


def learning_curve(
    features: np.ndarray,
    widths: Sequence[int],
    labels: np.ndarray,
    num_classes: int,
    folds: np.ndarray,
    report: Report = lambda done, of: None,
) -> Curve | None:
    """Measures how exact linear heads do with half the images, a quarter, and so on.

    Subsets are nested and have their share of each class. Few images are cross-validated: all of
    them judge, whatever is learned from. Of many, those of the first fold judge, and there is one
    draw. Each head has the penalty that judges best; that flatters all sizes about alike.

    Args:
        features: `(images, num_features)`.
        widths: Features of each cut; they add up to `num_features`.
        labels: `(images,)` integers.
        num_classes: Number of classes.
        folds: `(images,)` integers, the fold that an image judges, or -1 for none.
        report: Called with how many heads are done, and of how many.

    Returns:
        None where there are too few images for a curve.
    """
    is_large = len(labels) > MOST_SAMPLES
    num_folds = folds.max() + 1
    present = np.bincount(labels, minlength=num_classes) > 0
    now = len(labels) / present.sum()
    learned = now * (1 - 1 / num_folds)
    halvings = int(np.log2(learned / LEAST_PER_CLASS)) if learned >= LEAST_PER_CLASS else -1
    shares = 0.5 ** np.arange(halvings, -1, -1)
    if len(shares) < LEAST_SIZES:
        return None
    every = np.ones(len(labels), bool)
    rows = Rows(features, labels, num_classes, tuple(widths), folds, every, every)
    fit = _of_many if is_large else _of_few(rows)
    draws = 1 if is_large else DRAWS
    hits = []
    for draw in range(draws):
        places = _places(labels, np.random.default_rng(draw))
        number: float = USUAL
        for share in shares:
            fitted, judging = fit(rows, places < share, number)
            number = fitted.number
            hits.append(probabilities_of(fitted.logits).argmax(1) == labels[judging])
            report(len(hits), draws * len(shares))
    return Curve(learned * shares, np.stack(hits).reshape(draws, len(shares), -1), now)


Fit = Callable[[Rows, np.ndarray, float], tuple[Fitted, np.ndarray]]
"""Takes rows, `(images,)` bool which of them may be learned from, and the number of a penalty to
begin with; returns a fit and the rows that judged it."""


def _of_few(rows: Rows) -> Fit:
    problem = Products(standardised(rows, "none").features, rows.widths).problem(_weights(rows))

    def fit(rows: Rows, learned: np.ndarray, number: float) -> tuple[Fitted, np.ndarray]:
        some = replace(rows, final=learned)
        return best_on_path(problem, some, number, TOLERANCE)[0], some.judging

    return fit


def _of_many(rows: Rows, learned: np.ndarray, number: float) -> tuple[Fitted, np.ndarray]:
    judging = np.flatnonzero(rows.folds == 0)
    images = np.union1d(np.flatnonzero(learned), judging)
    is_judge = rows.folds[images] == 0
    some = replace(rows.some(images), training=~is_judge, final=~is_judge, holdout=True)
    return best_on_path(_problem(some), some, number, TOLERANCE)[0], judging


def _problem(rows: Rows) -> Problem:
    treated = standardised(rows, "none").features
    if len(rows.labels) <= MOST_SAMPLES:
        return Products(treated, rows.widths).problem(_weights(rows))
    return in_columns(treated, np.repeat(_weights(rows), rows.widths))


def _weights(rows: Rows) -> np.ndarray:
    return np.full(len(rows.widths), 1 / sum(rows.widths))


def _places(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where each image stands in a random order of its class, from 0 to less than 1."""
    places = np.empty(len(labels))
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        # The first of each class is in all subsets.
        places[of_class] = np.arange(len(of_class)) / len(of_class)
    return places

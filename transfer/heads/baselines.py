"""Exact baselines on features in memory: ridge and logistic regression, nearest neighbours.

What a trained head has to beat. They take little time, and have neither a learning rate nor a
number of epochs to choose.

Memory: `standardise` makes the only copy of the features, in float32. Beside it are at
most four float64 matrices of 4,096 x 4,096 or of 4,096 rows of the features, and for fits by L-BFGS
about 40 arrays of `(num_features, num_classes)`. Few features are copied to float64.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from transfer.errors import InputError
from transfer.heads.descent import CrossEntropy, Descent, HalfSquares, in_float32
from transfer.heads.samples import mean_over_views
from transfer.heads.standardised import StandardisedData, blocks
from transfer.metrics import cross_entropy

PENALTIES = tuple(np.logspace(5, -6, 45).tolist())
"""The L2 penalties of the linear-probe protocol.

Source: Kornblith, Shlens and Le, "Do Better ImageNet Models Transfer Better?", arXiv 1805.08974,
appendix: 45 logarithmically spaced values from 1e-6 to 1e5.
"""
NEIGHBOURS = (1, 5, 10, 20, 50)
TOLERANCE = 1e-8
"""How far above its minimum a fit's objective may end, by its own estimate, as a share of it."""
PATIENCE = 3
"""Penalties in a row that may make validation worse before the weaker ones are left out."""
SEARCH_VALUES = 2**22
"""Values of the training features that are searched at a time."""


_Loss = CrossEntropy | HalfSquares


@dataclass(frozen=True)
class Baseline:
    """One baseline's scores on the validation images.

    Attributes:
        name: `"ridge"`, `"logistic"` or `"neighbours"`.
        setting: The L2 penalty, or the number of neighbours.
        val_accuracy: Share of images that are right, 0-1; of equal scores the lower class counts.
        val_loss: Mean cross-entropy in nats, probabilities clipped as in `metrics.evaluate`; None
            where the baseline gives no probabilities.
    """

    name: str
    setting: float
    val_accuracy: float
    val_loss: float | None


@dataclass(frozen=True, eq=False)
class LinearPath:
    """A linear model fitted for one penalty after another.

    Attributes:
        baselines: One per fit, in the order of fitting.
        best: The one with the lowest validation loss (logistic) or highest accuracy (ridge).
        kernel: `(num_features, num_classes)` float32 of the best, for standardised features, as
            the dense layer of a linear head takes it.
        bias: `(num_classes,)` float32, likewise. Logistic: softmax of the logits gives the
            probabilities. Ridge: the outputs approach one-hot labels, only their order means
            something.
        gaps: Per fit, the estimated excess of the objective over its minimum, as a share of it; 0
            where the solution is closed.
        not_fitted: Penalties left out because weaker ones had only made validation worse.
        seconds: Wall time of the path, with whatever was decomposed for it.
    """

    baselines: tuple[Baseline, ...]
    best: Baseline
    kernel: np.ndarray
    bias: np.ndarray
    gaps: tuple[float, ...]
    not_fitted: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class NeighbourScores:
    """Votes of the nearest training samples.

    Attributes:
        baselines: One per number of neighbours, in increasing order.
        best: The one with the highest accuracy, of equals the one with fewer neighbours.
        too_many: Numbers left out because there are fewer training samples.
        seconds: Wall time of search and votes.
    """

    baselines: tuple[Baseline, ...]
    best: Baseline
    too_many: tuple[int, ...]
    seconds: float


def ridge_path(data: StandardisedData, penalties: Sequence[float] = PENALTIES) -> LinearPath:
    """Ridge regression on one-hot labels, for all penalties from one decomposition.

    Minimises the sum over rows of squared errors plus penalty times the squares of the kernel;
    the intercept is free. That is scikit-learn's `Ridge(alpha=penalty)`. In float64; rounding the
    features to float32 is all that is not exact.

    Where both rows and features are more than 4,096, decomposing would take minutes. There the
    same objective is minimised by L-BFGS, as `logistic_path` does it and to the same tolerance, and
    weak penalties are left out once they only make the validation accuracy worse.

    Args:
        data: From `standardise`.
        penalties: More than 0, in any order.

    Raises:
        InputError: If a penalty is not a number above 0, or there are none.
    """
    started = time.monotonic()
    ordered = _from_strong_to_weak(penalties)
    if data.is_wide:
        return _descend(data, HalfSquares(), ordered, PATIENCE, TOLERANCE, started)
    path = _begun(data, HalfSquares())
    spectrum = data.spectrum
    assert spectrum.vectors is not None
    targets = spectrum.vectors.T @ _products_with_targets(data, spectrum.center)
    for penalty in ordered:
        kernel = spectrum.vectors @ (targets / (spectrum.eigenvalues + penalty)[:, None])
        weights = np.vstack([kernel, data.class_shares - spectrum.center @ kernel])
        path.add(_scored(data, HalfSquares(), penalty, weights, gap=0.0))
    return path.finished((), started)


def _products_with_targets(data: StandardisedData, center: np.ndarray) -> np.ndarray:
    """`(num_features, num_classes)` float64: centred features times centred one-hot labels."""
    products = np.zeros((data.features.shape[1], data.num_classes))
    for rows in blocks(*data.features.shape):
        one_hot = np.eye(data.num_classes)[data.labels[rows]]
        products += (data.features[rows] - center).T @ (one_hot - data.class_shares)
    return products


def logistic_path(
    data: StandardisedData,
    penalties: Sequence[float] = PENALTIES,
    patience: int = PATIENCE,
    tolerance: float = TOLERANCE,
) -> LinearPath:
    """Multinomial logistic regression by L-BFGS, each fit started from the stronger penalties'.

    Minimises the sum over rows of cross-entropies plus half the penalty times the squares of the
    kernel; the intercept is free. That is scikit-learn's `LogisticRegression(C=1 / penalty)`, for
    two classes `C=2 / penalty`, since there it has one logit where this has two.

    The path goes from strong to weak penalties until weaker ones have only made the validation
    loss worse; those left out are in `not_fitted`. One more fit follows, between the best penalty
    and its neighbours, where a parabola through the three losses is lowest.

    Kernels are fitted in coordinates in which the objective is about equally curved in all
    directions, see `descent.Scaling`; there its excess over the minimum is about half the squared
    gradient. A fit ends where that is at most `tolerance` of the objective, or where float32 allows
    no further step; `gaps` has what was reached. Of features with more than 4,096 columns and rows,
    directions are estimated from 4,096 rows: more steps are needed, the minimum is the same.

    Measured on 45,025 x 1,280 features of CIFAR-10, in float32, against float64 with a tolerance of
    1e-13: at penalties of 1e4, 562 and 100 the objective was 4e-8, 6e-8 and 3e-7 of itself above
    the minimum where 5e-9 to 9e-9 had been estimated, the validation loss off by 2e-6, 1e-6 and
    2e-5, a probability by 0.0025 at most. Up to 2^24 values of features are fitted in float64,
    where a tolerance of 1e-12 can be asked for.

    Args:
        data: From `standardise`.
        penalties: More than 0, in any order.
        patience: Penalties in a row that may be worse than the best before the path ends.
        tolerance: Share of the objective.

    Raises:
        InputError: If a penalty is not a number above 0, or there are none.
    """
    started = time.monotonic()
    ordered = _from_strong_to_weak(penalties)
    return _descend(data, CrossEntropy(), ordered, patience, tolerance, started)


def _from_strong_to_weak(penalties: Sequence[float]) -> list[float]:
    bad = [penalty for penalty in penalties if not 0 < penalty < math.inf]
    if bad or not len(penalties):
        raise InputError(f"penalties expect numbers above 0, received {bad[0] if bad else 'none'}")
    return sorted({float(penalty) for penalty in penalties}, reverse=True)


@dataclass(frozen=True, eq=False)
class _Fit:
    """One fit and its scores; `weights` as in `descent.Descent`."""

    baseline: Baseline
    weights: np.ndarray
    gap: float

    @property
    def cost(self) -> float:
        """What the best fit has least of."""
        loss = self.baseline.val_loss
        return -self.baseline.val_accuracy if loss is None else loss


def _scored(
    data: StandardisedData,
    loss: _Loss,
    penalty: float,
    weights: np.ndarray,
    gap: float,
) -> _Fit:
    kernel, bias = in_float32(weights)
    predictions = mean_over_views(loss.predictions(data.val_features @ kernel + bias), data.views)
    accuracy = float(np.mean(predictions.argmax(1) == data.val_labels))
    val_loss = None
    if isinstance(loss, CrossEntropy):
        val_loss = cross_entropy(predictions, data.val_labels)
    return _Fit(Baseline(loss.name, penalty, accuracy, val_loss), weights, gap)


class _PathSoFar:
    """The scores of all fits; the weights of the best and of the last two only."""

    def __init__(self, nothing: _Fit) -> None:
        self.best = nothing
        self.recent = [nothing]
        self.baselines: list[Baseline] = []
        self.gaps: list[float] = []
        self.worse_in_a_row = 0

    def add(self, fit: _Fit) -> None:
        self.baselines.append(fit.baseline)
        self.gaps.append(fit.gap)
        self.recent = [self.recent[-1], fit]
        if len(self.baselines) == 1 or fit.cost < self.best.cost:
            self.best, self.worse_in_a_row = fit, 0
        elif fit.cost > self.best.cost:
            self.worse_in_a_row += 1

    def finished(self, not_fitted: Sequence[float], started: float) -> LinearPath:
        kernel, bias = in_float32(self.best.weights)
        return LinearPath(
            tuple(self.baselines),
            self.best.baseline,
            kernel,
            bias,
            tuple(self.gaps),
            tuple(not_fitted),
            time.monotonic() - started,
        )


def _begun(data: StandardisedData, loss: _Loss) -> _PathSoFar:
    """A path that starts where an infinite penalty leads to."""
    weights = np.zeros((data.features.shape[1] + 1, data.num_classes))
    weights[-1] = loss.intercept(data.class_shares)
    return _PathSoFar(_scored(data, loss, math.inf, weights, gap=0.0))


def _descend(
    data: StandardisedData,
    loss: _Loss,
    penalties: Sequence[float],
    patience: int,
    tolerance: float,
    started: float,
) -> LinearPath:
    """Fits from strong to weak penalties until validation has got worse `patience` times."""
    path = _begun(data, loss)
    with Descent(data.features, data.labels, data.spectrum, loss, tolerance) as descent:

        def fit(penalty: float, start: np.ndarray) -> None:
            weights, gap = descent.fit(penalty, start)
            path.add(_scored(data, loss, penalty, weights, gap))

        for penalty in penalties:
            fit(penalty, _extrapolated(path.recent, penalty))
            if path.worse_in_a_row >= patience:
                break
        not_fitted = penalties[len(path.baselines) :]
        between = _lowest_between(path.baselines)
        if between is not None:
            fit(between, path.best.weights)
    return path.finished(not_fitted, started)


def _extrapolated(recent: Sequence[_Fit], penalty: float) -> np.ndarray:
    """Where the last two fits point to, along the logarithm of the penalty."""
    one, two = recent[0], recent[-1]
    if math.isinf(one.baseline.setting):
        return two.weights
    step = math.log(penalty / two.baseline.setting)
    length = step / math.log(two.baseline.setting / one.baseline.setting)
    return two.weights + length * (two.weights - one.weights)


def _lowest_between(baselines: Sequence[Baseline]) -> float | None:
    """The penalty at which a parabola through the lowest loss and its neighbours is lowest.

    None where there are no losses, or the lowest is the first or the last.
    """
    losses = [each.val_loss for each in baselines if each.val_loss is not None]
    best = int(np.argmin(losses)) if losses else 0
    if not 0 < best < len(losses) - 1:
        return None
    around = slice(best - 1, best + 2)
    exponents = np.log([each.setting for each in baselines[around]])
    square, linear, _ = np.polyfit(exponents - exponents[1], losses[around], 2)
    return float(np.exp(exponents[1] - linear / (2 * square))) if square > 0 else None


def nearest_neighbours(
    data: StandardisedData,
    numbers: Sequence[int] = NEIGHBOURS,
    metric: Literal["cosine", "euclidean"] = "cosine",
) -> NeighbourScores:
    """Lets the nearest training samples vote, one vote each, for several numbers of them.

    Searched once, for the largest number, in blocks of training rows. Measured on 1,280 features
    of CIFAR-10, 20 neighbours: 0.678 with cosine, 0.650 with euclidean distances.

    Args:
        data: From `standardise`; each view of a training image counts by itself.
        numbers: Of neighbours, 1 or more, in any order.
        metric: Of the standardised features.

    Raises:
        InputError: If a number is less than 1, or all are more than the training samples.
    """
    started = time.monotonic()
    num_rows = len(data.labels)
    if not len(numbers) or min(numbers) < 1 or min(numbers) > num_rows:
        raise InputError(
            f"neighbours expect numbers from 1 to {num_rows}, the training samples, "
            f"received {', '.join(map(str, numbers)) or 'none'}"
        )
    wanted = sorted({number for number in numbers if number <= num_rows})
    nearest = data.labels[_search(data, wanted[-1], metric)]
    votes = np.zeros((len(nearest), data.num_classes), np.int32)
    baselines = []
    for rank in range(wanted[-1]):
        votes[np.arange(len(nearest)), nearest[:, rank]] += 1
        if rank + 1 in wanted:
            winners = mean_over_views(votes, data.views).argmax(1)
            accuracy = float(np.mean(winners == data.val_labels))
            baselines.append(Baseline("neighbours", rank + 1, accuracy, None))
    return NeighbourScores(
        tuple(baselines),
        max(baselines, key=lambda each: each.val_accuracy),
        tuple(sorted({number for number in numbers if number > num_rows})),
        time.monotonic() - started,
    )


def _search(data: StandardisedData, count: int, metric: str) -> np.ndarray:
    """`(val_samples, count)` positions of the nearest training samples, the nearest first."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    # Rows of length 1 are ordered by distance as they are by cosine, and sklearn's search by
    # euclidean distance is the one that does not hold all distances.
    directed = normalize if metric == "cosine" else np.asarray
    queries = directed(data.val_features)
    distances = np.empty((len(queries), 0), np.float32)
    positions = np.empty((len(queries), 0), np.int64)
    for rows in blocks(len(data.features), data.features.shape[1], SEARCH_VALUES):
        search = NearestNeighbors(algorithm="brute").fit(directed(data.features[rows]))
        found = search.kneighbors(queries, min(count, rows.stop - rows.start))
        distances = np.hstack([distances, found[0]])
        positions = np.hstack([positions, found[1] + rows.start])
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        distances = np.take_along_axis(distances, order, 1)
        positions = np.take_along_axis(positions, order, 1)
    return positions

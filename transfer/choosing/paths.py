"""Multinomial logistic regression for all folds at once, over penalties, judged out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transfer.choosing.problems import Problem
from transfer.choosing.rows import Rows
from transfer.heads.descent import CrossEntropy, Descent, in_float32
from transfer.heads.standardised import blocks
from transfer.metrics import SMALLEST_PROBABILITY


def penalty_at(number: float) -> float:
    """The penalty of a number, those between two of `PENALTIES` included."""
    return 10.0 ** ((10 - number) / 2)


PENALTIES = tuple(penalty_at(number) for number in range(25))
"""From strong to weak; of kernels of features whose samples have about the length 1."""
USUAL = PENALTIES.index(1e-2)
"""Where a first path starts."""
TOLERANCE = 3e-5
"""How far above its minimum a fit's objective may end, as a share of it. Losses of candidates
differ by thousandths."""
OF_MANY = 1e-4
"""The same for so many images that each step takes a good part of a second."""
ROUGH = 3e-4
"""And where such a fit only chooses."""
MOST_WEIGHTS = 2**22
"""That are fitted side by side; the descent remembers them some twenty times."""

Fits = tuple[np.ndarray, np.ndarray]
"""Kernels `(num_features, fits, classes)` of standardised features and biases `(fits, classes)`,
float32."""


class FoldedCrossEntropy:
    """Cross-entropy of several fits side by side; labels are -1 where a fit does not learn.

    Args:
        num_classes: Outputs of each fit.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._one = CrossEntropy()

    def of_rows(self, outputs: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum over rows and fits, and its derivative in place of the outputs.

        Args:
            outputs: `(rows, fits * num_classes)`.
            labels: `(rows, fits)`.
        """
        logits, flat = outputs.reshape(-1, self._num_classes), labels.ravel()
        learns = flat >= 0
        losses, gradient = self._one.of_each(logits, np.maximum(flat, 0))
        gradient *= learns[:, None]
        return float((losses * learns).sum(dtype=np.float64)), outputs

    def curvature(self, outputs: np.ndarray) -> float:
        """Mean second derivative in an output, as of one fit."""
        return self._one.curvature(outputs.reshape(-1, self._num_classes))


@dataclass(frozen=True, eq=False)
class Fitted:
    """The judged fits of a problem at one penalty.

    Attributes:
        number: Of the penalty, as `penalty_at` takes it.
        weights: `(coordinates + 1, fits, classes)` float64, intercepts in the last row.
        logits: `(judging images, views, classes)`, each by the fit that has not seen it.
        loss: Mean cross-entropy of the judging images, nats.
    """

    number: float
    weights: np.ndarray
    logits: np.ndarray
    loss: float

    @property
    def penalty(self) -> float:
        """On half the squares of the kernel, beside the sum of cross-entropies."""
        return penalty_at(self.number)


def best_on_path(
    problem: Problem, rows: Rows, start: float, tolerance: float = TOLERANCE
) -> tuple[Fitted, int]:
    """Walks along the penalties to the lowest loss out of fold.

    From the penalty of number `start` to the stronger or the weaker side, as long as the loss
    falls; each fit starts from its neighbour's. Along a path the loss has one valley.

    Returns:
        The best, and how many penalties were fitted.
    """
    with _descent(problem, rows, rows.learning, tolerance) as descent:

        def fitted(number: float, start: np.ndarray) -> Fitted:
            return _fitted(descent, problem, rows, number, start)

        return _walk(fitted, start, without_features(problem, rows))


def best_around(problem: Problem, rows: Rows, start: Fitted, tolerance: float) -> list[Fitted]:
    """Looks for the lowest loss out of fold at a penalty and its neighbours, and on from there.

    They are fitted side by side: of many features, passes over them are what takes the time.

    Args:
        problem: Of many samples.
        rows: The images.
        start: At a penalty nearby.
        tolerance: As `TOLERANCE`.

    Returns:
        All that were fitted, from the strongest penalty to the weakest.
    """
    best = start
    fitted: dict[float, Fitted] = {}
    while missing := [number for number in _around(best.number) if number not in fitted]:
        for each in fitted_at(problem, rows, missing, best.weights, tolerance):
            fitted[each.number] = each
        best = min(fitted.values(), key=lambda each: each.loss)
    return [fitted[number] for number in sorted(fitted)]


def _around(number: float) -> list[int]:
    return sorted({on_grid(number + step) for step in (-1, 0, 1)})


def on_grid(number: float) -> int:
    """The number of the nearest of `PENALTIES`."""
    return min(max(round(number), 0), len(PENALTIES) - 1)


def lowest_number(fitted: Sequence[Fitted]) -> float:
    """Where the parabola through the lowest loss and its neighbours' is lowest.

    Args:
        fitted: From the strongest penalty to the weakest, each a number on.
    """
    losses = [each.loss for each in fitted]
    lowest = int(np.argmin(losses))
    if not 0 < lowest < len(losses) - 1:
        return fitted[lowest].number
    stronger, best, weaker = losses[lowest - 1 : lowest + 2]
    bend = stronger - 2 * best + weaker
    return fitted[lowest].number + ((stronger - weaker) / 2 / bend if bend else 0)


def fitted_at(
    problem: Problem, rows: Rows, numbers: Sequence[float], start: np.ndarray, tolerance: float
) -> list[Fitted]:
    """Fits at some penalties, from weights `(coordinates + 1, fits, classes)` nearby."""
    count, fits = len(numbers), rows.learning.shape[1]
    penalties = np.repeat([penalty_at(number) for number in numbers], fits)
    learning, starts = np.tile(rows.learning, count), np.tile(start, (1, count, 1))
    weights = fit_side_by_side(problem, rows, learning, penalties, starts, tolerance)
    of_each = np.split(weights, count, axis=1)
    return [judged(problem, rows, *each) for each in zip(numbers, of_each, strict=True)]


def fit_side_by_side(
    problem: Problem,
    rows: Rows,
    learning: np.ndarray,
    penalties: np.ndarray,
    start: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Several fits in the same passes over the features, as many as memory allows.

    Args:
        problem: The candidate's.
        rows: The images.
        learning: `(images, fits)` bool.
        penalties: `(fits,)`.
        start: `(coordinates + 1, fits, classes)` weights nearby.
        tolerance: As `TOLERANCE`.

    Returns:
        Weights, as `start`.
    """
    height, fits, classes = start.shape
    at_a_time = max(1, MOST_WEIGHTS // (height * classes))
    weights = np.empty_like(start)
    for first in range(0, fits, at_a_time):
        some = slice(first, first + at_a_time)
        with _descent(problem, rows, learning[:, some], tolerance) as descent:
            of_outputs = np.repeat(penalties[some], classes)
            flat, _ = descent.fit(of_outputs, start[:, some].reshape(height, -1))
        weights[:, some] = flat.reshape(height, -1, classes)
    return weights


def judged(problem: Problem, rows: Rows, number: float, weights: np.ndarray) -> Fitted:
    """What fits of some weights, one a fold, say of the images that they have not seen."""
    logits = rows.out_of_fold(_outputs(problem, weights))
    loss = losses_of(logits, rows.labels[rows.judging]).mean()
    return Fitted(number, weights, logits, float(loss))


def _descent(problem: Problem, rows: Rows, learning: np.ndarray, tolerance: float) -> Descent:
    learns = np.flatnonzero(learning.any(1))
    # Those in front and behind that only judge need no passes over their features.
    seen = slice(learns[0] * rows.views, (learns[-1] + 1) * rows.views)
    spectrum = problem.spectrum
    return Descent(
        problem.features[seen],
        rows.targets(learning)[seen],
        replace(spectrum, eigenvalues=spectrum.eigenvalues * learning.mean()),
        FoldedCrossEntropy(rows.num_classes),
        tolerance,
        problem.scales,
    )


def _fitted(
    descent: Descent, problem: Problem, rows: Rows, number: float, start: np.ndarray
) -> Fitted:
    flat, _ = descent.fit(penalty_at(number), start.reshape(len(start), -1))
    return judged(problem, rows, number, flat.reshape(start.shape))


def fit_again(
    problem: Problem,
    rows: Rows,
    fitted: Fitted,
    learning: np.ndarray,
    tolerance: float = TOLERANCE,
) -> Fits:
    """Fits to other images at a penalty that was found.

    Args:
        problem: The candidate's.
        rows: The images.
        fitted: What was judged.
        learning: `(images, fits)` bool.
        tolerance: As `TOLERANCE`.
    """
    fits = learning.shape[1]
    start = np.repeat(fitted.weights.mean(1, keepdims=True), fits, axis=1)
    penalties = np.full(fits, fitted.penalty)
    return of_features(
        problem, fit_side_by_side(problem, rows, learning, penalties, start, tolerance)
    )


def of_features(problem: Problem, weights: np.ndarray) -> Fits:
    """Fits in a problem's coordinates, `(coordinates + 1, fits, classes)`, as those of features."""
    shape = weights.shape[1:]
    kernels = problem.kernel(weights[:-1].reshape(len(weights) - 1, -1)).astype(np.float32)
    return kernels.reshape(-1, *shape), weights[-1].astype(np.float32)


def _walk(
    fitted: Callable[[float, np.ndarray], Fitted], start: float, nothing: np.ndarray
) -> tuple[Fitted, int]:
    best, tried = fitted(start, nothing), 1
    for step in (-1, 1):
        moved = False
        while 0 <= best.number + step < len(PENALTIES):
            beside = fitted(best.number + step, best.weights)
            tried += 1
            if beside.loss >= best.loss:
                break
            best, moved = beside, True
        if moved:
            break  # the other side was the way here
    return best, tried


def without_features(problem: Problem, rows: Rows) -> np.ndarray:
    """Weights where an infinite penalty leads to: intercepts of the classes' shares alone."""
    fits, classes = rows.learning.shape[1], rows.num_classes
    weights = np.zeros((problem.features.shape[1] + 1, fits, classes))
    counts = np.eye(classes)[rows.labels].T @ rows.learning
    weights[-1] = CrossEntropy().intercept((counts / counts.sum(0)).T)
    return weights


def _outputs(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """`(samples, fits, classes)`."""
    flat = weights.reshape(len(weights), -1)
    scales = 1 if problem.scales is None else problem.scales[:, None]
    kernel, bias = in_float32(np.vstack([scales * flat[:-1], flat[-1:]]))
    outputs = np.empty((len(problem.features), flat.shape[1]), np.float32)
    for block in blocks(*problem.features.shape):
        outputs[block] = problem.features[block] @ kernel + bias
    return outputs.reshape(len(outputs), *weights.shape[1:])


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """`(images, views, classes)` logits to `(images, classes)` float64, the mean over views."""
    from scipy.special import softmax

    return softmax(logits.astype(np.float64), axis=-1).mean(1)


def losses_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`(images,)` cross-entropies in nats, as `metrics.cross_entropy` clips them."""
    of_truth = probabilities_of(logits)[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_truth, SMALLEST_PROBABILITY))

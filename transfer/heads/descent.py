"""Minimises the penalised loss of a linear model by L-BFGS, in coordinates that suit it."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from transfer.heads.standardised import Spectrum, blocks
from transfer.machine.processors import processors
from transfer.metrics import SMALLEST_PROBABILITY

PRODUCT_VALUES = 2**21
"""Values of the features in one product: few enough to be in a cache for the second one."""
FEW_VALUES = 2**24
"""Of which a float64 copy is no burden. Where few samples are told apart with certainty, losses are
too small for float32."""
COARSE = 1e-6
"""A tolerance from which on float32 is good enough, and faster."""
PARTS = 8
"""Of the training samples, on which threads work; as many anywhere, so that sums round alike."""
PART_ROWS = 512
"""Least of them: for fewer a thread takes longer to start than to work."""
MOST_ITERATIONS = 1000
NOTHING = np.finfo(np.float64).tiny
CURVATURE_ROWS = 4096
LEAST_CURVATURE = 1e-8
"""Where all samples are certain, what is measured is rounding."""


class Loss(Protocol):
    """What a descent minimises, of linear outputs."""

    def of_rows(self, outputs: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum over rows, and its derivative in place of the outputs."""

    def curvature(self, outputs: np.ndarray) -> float:
        """Mean second derivative in an output."""


class CrossEntropy:
    """Cross-entropy of softmax."""

    name = "logistic"

    def intercept(self, class_shares: np.ndarray) -> np.ndarray:
        """The best one where the kernel is 0."""
        return np.log(np.maximum(class_shares, SMALLEST_PROBABILITY))

    def of_rows(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum over rows, and its derivative in place of the logits."""
        losses, gradient = self.of_each(logits, labels)
        return float(losses.sum(dtype=np.float64)), gradient

    def of_each(self, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(rows,)` losses, and their derivatives in place of the logits."""
        rows = np.arange(len(labels))
        logits -= logits.max(1, keepdims=True)
        of_truth = logits[rows, labels]
        np.exp(logits, out=logits)
        sums = logits.sum(1, keepdims=True)
        logits /= sums
        logits[rows, labels] -= 1
        return np.log(sums[:, 0]) - of_truth, logits

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, float64."""
        from scipy.special import softmax

        return softmax(logits.astype(np.float64), axis=1)

    def curvature(self, logits: np.ndarray) -> float:
        """Mean second derivative in a logit, but for the one direction that changes nothing.

        For probabilities p the matrix of derivatives is diag(p) - pp', of trace 1 - p'p.
        """
        traces = 1 - np.square(self.predictions(logits)).sum(1)
        return max(LEAST_CURVATURE, float(traces.mean()) / max(1, logits.shape[1] - 1))


class HalfSquares:
    """Half the squared difference from one-hot labels."""

    name = "ridge"

    def intercept(self, class_shares: np.ndarray) -> np.ndarray:
        """The best one where the kernel is 0."""
        return class_shares.copy()

    def of_rows(self, outputs: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum over rows, and its derivative in place of the outputs."""
        outputs[np.arange(len(labels)), labels] -= 1
        return 0.5 * float(np.square(outputs).sum(dtype=np.float64)), outputs

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """The outputs as they are."""
        return outputs

    def curvature(self, outputs: np.ndarray) -> float:
        """Mean second derivative in an output."""
        return 1.0


class Descent:
    """Fits linear models to one set of features; use it in a `with` block.

    The objective is the loss summed over samples plus half the penalty times the squares of the
    kernel; the intercept is free. Weights are `(num_features + 1, num_classes)` float64, the
    intercept in their last row.

    Products are in float32, or in float64 with a copy of few features; sums over blocks of samples
    are in float64. Each thread here has one thread of BLAS: measured three times as fast on a busy
    machine as the other way round, where BLAS's threads wait for one another in every product.

    Args:
        features: `(samples, num_features)` float32, standardised.
        labels: `(samples, ...)`, of which the loss is given some rows.
        spectrum: Of the features, times their scales; or of some of them as of all.
        loss: Of some samples.
        tolerance: How far above its minimum, by its own estimate, the objective may end, as a
            share of it.
        scales: `(num_features,)` factors of the features, which are left as they are; by default 1.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        spectrum: Spectrum,
        loss: Loss,
        tolerance: float,
        scales: np.ndarray | None = None,
    ) -> None:
        self._labels, self._spectrum = labels, spectrum
        self._loss, self._tolerance = loss, tolerance
        self._scales = np.float64(1) if scales is None else scales[:, None]
        precise = features.size <= FEW_VALUES and tolerance < COARSE
        self._features = features.astype(np.float64 if precise else np.float32, copy=False)
        parts = min(PARTS, max(1, len(labels) // PART_ROWS))
        ends = np.linspace(0, len(labels), parts + 1).astype(int).tolist()
        self._parts = [slice(start, end) for start, end in itertools.pairwise(ends)]

    def __enter__(self) -> Descent:
        from threadpoolctl import threadpool_limits

        with ExitStack() as stack:
            stack.enter_context(threadpool_limits(1, "blas"))
            self._pool = stack.enter_context(ThreadPoolExecutor(processors()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def fit(self, penalty: float | np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
        """Minimises the objective.

        Args:
            penalty: More than 0; one, or `(outputs,)`.
            start: Weights nearby.

        Returns:
            Weights, and the estimate of the objective's excess over its minimum, as a share of it.
        """
        from scipy.optimize import minimize

        curvature = self._curvature(start)
        scaling = Scaling.of(self._spectrum, curvature, penalty, len(self._labels))

        def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self._loss_and_gradient(weights)
            value += float((penalty * np.square(weights[:-1])).sum()) / 2
            gradient[:-1] += penalty * weights[:-1]
            return value, scaling.gradient(gradient).ravel()

        first = objective(start)
        # In this unit the step that the scaling proposes has the length 1, which is what L-BFGS
        # tries first; it would take some evaluations to find out how far to go.
        unit = float(np.linalg.norm(first[1])) or 1.0
        origin = scaling.coordinates(start).ravel()
        gap = math.inf

        def in_units(steps: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal gap
            moved = scaling.weights((origin + unit * steps).reshape(start.shape))
            value, gradient = objective(moved) if steps.any() else first
            gap = float(gradient @ gradient) / 2 / max(value, NOTHING)
            return value / unit**2, gradient / unit

        def stop_when_near(intermediate_result: object) -> None:
            if gap <= self._tolerance:
                raise StopIteration

        found = minimize(
            in_units,
            np.zeros(start.size),
            jac=True,
            method="L-BFGS-B",
            callback=stop_when_near,
            options={
                "ftol": 0,
                "gtol": 0,
                "maxiter": MOST_ITERATIONS,
                "maxfun": 2 * MOST_ITERATIONS,
            },
        )
        weights = scaling.weights((origin + unit * found.x).reshape(start.shape))
        # `gap` may be that of a step that was not taken in the end.
        return weights, float(found.jac @ found.jac) / 2 / max(found.fun, NOTHING)

    def _curvature(self, weights: np.ndarray) -> float:
        """Of the loss, by some of the training samples: those of validation are less certain."""
        kernel, bias = in_float32(self._for_features(weights))
        every = math.ceil(len(self._features) / CURVATURE_ROWS)
        return self._loss.curvature(self._features[::every] @ kernel + bias)

    def _loss_and_gradient(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        rounded = self._for_features(weights).astype(self._features.dtype)
        kernel, bias = rounded[:-1], rounded[-1]

        def of_part(part: slice) -> tuple[float, np.ndarray]:
            features, labels = self._features[part], self._labels[part]
            value, gradient = 0.0, np.zeros(weights.shape)
            for rows in blocks(len(features), features.shape[1], PRODUCT_VALUES):
                loss, residuals = self._loss.of_rows(features[rows] @ kernel + bias, labels[rows])
                value += loss
                gradient[:-1] += features[rows].T @ residuals
                gradient[-1] += residuals.sum(0, dtype=np.float64)
            return value, gradient

        total, gradient = 0.0, np.zeros(weights.shape)
        for value, part in self._pool.map(of_part, self._parts):
            total += value
            gradient += part
        gradient[:-1] *= self._scales
        return total, gradient

    def _for_features(self, weights: np.ndarray) -> np.ndarray:
        """Weights of features that are not scaled."""
        return np.vstack([self._scales * weights[:-1], weights[-1:]])


def in_float32(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of weights."""
    rounded = weights.astype(np.float32)
    return rounded[:-1], rounded[-1]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Coordinates in which an objective is about equally curved in all directions.

    Kernels are scaled by `along[i]` along `vectors[:, i]` and by `elsewhere` in what is left of
    them, each one factor or one an output; intercepts by `intercept`. Without vectors the axes are
    the directions.
    """

    vectors: np.ndarray | None
    along: np.ndarray
    elsewhere: np.ndarray
    intercept: float

    @classmethod
    def of(
        cls, spectrum: Spectrum, curvature: float, penalty: float | np.ndarray, num_rows: int
    ) -> Scaling:
        """The inverse root of the Hessian that there is if the loss is curved alike everywhere."""
        along = 1 / np.sqrt(curvature * spectrum.eigenvalues[:, None] + penalty)
        # What is left varies less than the directions that are known.
        elsewhere = along.max(0) if len(along) else 1 / np.sqrt(penalty)
        vectors = spectrum.rounded_vectors
        return cls(vectors, along, elsewhere, 1 / math.sqrt(curvature * num_rows))

    def weights(self, coordinates: np.ndarray) -> np.ndarray:
        """`(num_features + 1, num_classes)` coordinates to weights."""
        return self._scaled(coordinates, self.along, self.elsewhere, self.intercept)

    def gradient(self, of_weights: np.ndarray) -> np.ndarray:
        """A gradient in weights to one in coordinates: the scaling's matrix is symmetric."""
        return self.weights(of_weights)

    def coordinates(self, weights: np.ndarray) -> np.ndarray:
        """The inverse of `weights`."""
        return self._scaled(weights, 1 / self.along, 1 / self.elsewhere, 1 / self.intercept)

    def _scaled(
        self, values: np.ndarray, along: np.ndarray, elsewhere: np.ndarray, intercept: float
    ) -> np.ndarray:
        if self.vectors is None:
            return np.vstack([along * values[:-1], intercept * values[-1:]])
        kernel = values[:-1].astype(np.float32)
        factors = (along - elsewhere).astype(np.float32)
        turned = self.vectors @ (factors * (self.vectors.T @ kernel))
        return np.vstack([elsewhere * values[:-1] + turned, intercept * values[-1:]])

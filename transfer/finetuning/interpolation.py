"""Between the weights before and after fine-tuning: how far to go is judged on images not seen.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903 (WiSE-FT).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from transfer.metrics import standard_error

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way from the start to the end."""


def between(
    start: Sequence[np.ndarray], end: Sequence[np.ndarray], share: float
) -> list[np.ndarray]:
    """Weights on the straight line from start, share 0, to end, share 1."""
    return [
        (one + share * (other - one)).astype(one.dtype)
        for one, other in zip(start, end, strict=True)
    ]


def mean_move(
    moves: Iterable[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]],
) -> list[np.ndarray]:
    """The mean of several moves from start to end, each a difference for every variable.

    Source: Wortsman et al., "Model soups", arXiv 2203.05482: trainings from one start end where
    averages of their weights are as good as, or better than, each of them.
    """
    total: list[np.ndarray] = []
    count = 0
    for start, end in moves:
        differences = [other - one for one, other in zip(start, end, strict=True)]
        total = [a + b for a, b in zip(total, differences, strict=True)] if total else differences
        count += 1
    return [each / count for each in total]


@dataclass(frozen=True, eq=False)
class Step:
    """How good the weights are at one share of the way.

    Attributes:
        share: Of the way, 0 to 1.
        losses: `(images,)` cross-entropies of images not seen, nats.
        hits: `(images,)` whether each is classed right, 0 or 1.
        temperature: By which its logits were divided.
    """

    share: float
    losses: np.ndarray
    hits: np.ndarray
    temperature: float = 1.0


NEGLIGIBLE = 1e-4
"""Difference in log loss, nats, that is none."""


def choose_step(steps: Sequence[Step]) -> Step:
    """The shortest way whose loss is within a standard error of the lowest.

    The error is that of the mean difference between the two on the same images. Source of the
    rule: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984.

    Args:
        steps: From the start on.
    """
    best = min(steps, key=lambda step: step.losses.mean())
    for step in steps:
        differences = step.losses - best.losses
        if differences.mean() <= max(NEGLIGIBLE, standard_error(differences)):
            return step
    return best

"""Averages of heads: those of linear heads are linear again, and cost nothing to use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transfer.choosing.paths import losses_of

STEPS = 10


def shares_of(logits: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """The share of each head in an average of logits, by greedy selection with repetition.

    Each step adds the head with which the average has the lowest loss out of fold. Source: Caruana,
    Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models", 2004.

    Args:
        logits: Per head `(images, views, classes)`, out of fold.
        labels: `(images,)`.

    Returns:
        `(heads,)` float64, multiples of a tenth that add up to 1.
    """
    counts, total = np.zeros(len(logits)), np.zeros_like(logits[0])
    for step in range(1, STEPS + 1):
        losses = [losses_of((total + each) / step, labels).mean() for each in logits]
        chosen = int(np.argmin(losses))
        counts[chosen] += 1
        total = total + logits[chosen]
    return counts / STEPS

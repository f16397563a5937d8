"""How unusual a number is among others, whatever a few odd ones among them are."""

import numpy as np

UNUSUAL = 3.5
"""Robust deviations. Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993."""
NORMAL = 1.4826
"""Standard deviations of a normal distribution in median absolute deviations from the median."""


def deviations(values: np.ndarray) -> np.ndarray:
    """Distances from the median in robust standard deviations.

    Args:
        values: `(images,)` finite numbers.

    Returns:
        `(images,)` float64; of numbers of which most are the same all others are infinitely far.
    """
    from_median = values - np.median(values)
    spread = NORMAL * np.median(np.abs(from_median))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(from_median == 0, 0.0, from_median / spread)

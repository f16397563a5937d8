"""Images unlike all others: off-topic files, and what no class was meant to hold."""

import numpy as np

from transfer.auditing.neighbours import Neighbours
from transfer.auditing.robust import deviations

UNLIKE = 2.5
"""Robust deviations from which on an image is unlike all others. With ten photographs from other
folders in each of six, `docs/measured.md` has how many were found, and how many others."""
NO_DISTANCE = 1e-4
"""Of images with as many copies as neighbours that are looked at."""


def outlyingness(neighbours: Neighbours) -> np.ndarray:
    """How far images are from their nearest others, on a scale of ratios, beside all other images.

    Source: Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors",
    2022.

    Returns:
        `(images,)` float64, robust deviations from the median.
    """
    distances = 1 - neighbours.few().similarity.mean(1, dtype=np.float64)
    return deviations(np.log(np.maximum(distances, NO_DISTANCE)))

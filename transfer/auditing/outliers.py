"""Images unlike all others: off-topic files, and what no class was meant to hold."""

import numpy as np

from transfer.auditing.neighbours import Neighbours
from transfer.auditing.robust import deviations


def outlyingness(neighbours: Neighbours) -> np.ndarray:
    """How far images are from their nearest others, in robust deviations of all images' distances.

    Source: Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors",
    2022.

    Returns:
        `(images,)` float64.
    """
    return deviations(1 - neighbours.similarity.mean(1, dtype=np.float64))

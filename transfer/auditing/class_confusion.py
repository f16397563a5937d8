"""Classes that the features cannot tell apart, by whose neighbours are whose."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from transfer.auditing.neighbours import Neighbours

ALIKE = 0.5
"""From half of what chance would mix on, two classes count as alike."""


@dataclass(frozen=True)
class Alike:
    """Two classes whose images are one another's neighbours.

    Attributes:
        one: A class.
        other: Another.
        mixed: How often an image of either has a neighbour of the other, of its neighbours in the
            two, as a share of how often chance would have it so: 0 apart, 1 the same.
    """

    one: int
    other: int
    mixed: float


def classes_alike(
    neighbours: Neighbours, labels: np.ndarray, num_classes: int, least: float = ALIKE
) -> list[Alike]:
    """Pairs of classes that are mixed, the most mixed first.

    Args:
        neighbours: Of all images.
        labels: `(images,)` integers.
        num_classes: Number of classes.
        least: Share of chance from which on a pair is told.
    """
    rows = neighbours.few().rows
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (np.repeat(labels, rows.shape[1]), labels[rows].ravel()), 1)
    sizes = np.bincount(labels, minlength=num_classes)
    found = []
    for one, other in combinations(np.flatnonzero(sizes).tolist(), 2):
        across = counts[one, other] + counts[other, one]
        all_of_two = across + counts[one, one] + counts[other, other]
        both = sizes[one] + sizes[other]
        by_chance = 2 * sizes[one] * sizes[other] / (both * (both - 1))
        mixed = across / all_of_two / by_chance if all_of_two else 0.0
        if mixed >= least:
            found.append(Alike(one, other, float(mixed)))
    return sorted(found, key=lambda pair: -pair.mixed)

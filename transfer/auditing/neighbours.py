"""The nearest neighbours of every image among all others, exactly, in blocks of products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

COUNT = 30
"""Neighbours that are kept of each image, among which twins are looked for."""
FEW = 10
"""Those that say how far an image is from others, and from which classes."""
BLOCK = 2048
"""Images that are compared with as many others at a time: a product of 16 MiB."""

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest others of each image, the nearest first.

    Attributes:
        rows: `(images, count)` int64.
        similarity: `(images, count)` float32 cosines, -1 to 1.
    """

    rows: np.ndarray
    similarity: np.ndarray

    def few(self) -> Neighbours:
        """The nearest few."""
        return Neighbours(self.rows[:, :FEW], self.similarity[:, :FEW])


def nearest(
    directions: np.ndarray,
    count: int = COUNT,
    report: Report = lambda done, of: None,
    block: int = BLOCK,
) -> Neighbours:
    """Finds the nearest others of each image by the products of all pairs; none is left out.

    Each pair is multiplied once. Memory beyond the directions is that of a few blocks.

    Args:
        directions: `(images, num_features)` float32, from `directions_of`; at least two.
        count: Neighbours of each image; all others where there are fewer.
        report: Called with how many blocks are done, and of how many.
        block: Images in a block, more than `count`.
    """
    images = len(directions)
    count = min(count, images - 1)
    bounds = np.linspace(0, images, math.ceil(images / block) + 1).astype(int).tolist()
    spans = [slice(*ends) for ends in pairwise(bounds)]
    rows = np.empty((images, count), np.int64)
    similarity = np.empty((images, count), np.float32)
    pairs = list(combinations(spans, 2))
    for done, span in enumerate(spans, 1):
        products = directions[span] @ directions[span].T
        np.fill_diagonal(products, -np.inf)
        best = np.argpartition(products, -count, axis=1)[:, -count:]
        values = np.take_along_axis(products, best, axis=1)
        order = np.lexsort((best, -values))
        rows[span] = np.take_along_axis(best, order, axis=1) + span.start
        similarity[span] = np.take_along_axis(values, order, axis=1)
        report(done, len(spans) + len(pairs))
    kept = Neighbours(rows, similarity)
    for done, (one, other) in enumerate(pairs, len(spans) + 1):
        products = directions[one] @ directions[other].T
        nearer = np.nonzero(products > similarity[one, -1:])
        _take_in(kept, one.start + nearer[0], other.start + nearer[1], products[nearer])
        nearer = np.nonzero(products > similarity[other, -1])
        _take_in(kept, other.start + nearer[1], one.start + nearer[0], products[nearer])
        report(done, len(spans) + len(pairs))
    return kept


def _take_in(kept: Neighbours, rows: np.ndarray, others: np.ndarray, values: np.ndarray) -> None:
    """Puts new neighbours of some rows in their places, and drops the farthest."""
    count = kept.rows.shape[1]
    touched = np.unique(rows)
    rows = np.concatenate([np.repeat(touched, count), rows])
    others = np.concatenate([kept.rows[touched].ravel(), others])
    values = np.concatenate([kept.similarity[touched].ravel(), values])
    order = np.lexsort((others, -values, rows))
    first = np.searchsorted(rows[order], touched)
    best = order[first[:, None] + np.arange(count)]
    kept.rows[touched], kept.similarity[touched] = others[best], values[best]

"""Splits and folds that keep the images of one patient, clip or camera on one side.

A group is given away whole, so shares are as good as groups allow: within half the largest group
where each group is of one class. Groups of one image come to exact shares.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from transfer.images.draws import draw


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows that belong together.

    Attributes:
        name: The group's.
        rows: `(size,)` increasing.
        classes: `(n,)` the labels among them.
        counts: `(n,)` rows of each of these.
    """

    name: str
    rows: np.ndarray
    classes: np.ndarray
    counts: np.ndarray


def hold_out(labels: np.ndarray, groups: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Gives whole groups to sides that want so many rows of each class; the rest is for training.

    Groups come in the order of their hashes. Each goes to the side that it brings nearest to what
    is wanted, counted in images over all classes, the first of equal ones; to training, if it
    brings none nearer, or if it has all that a class has left.

    Args:
        labels: `(rows,)` integers.
        groups: `(rows,)` str, the group of each row.
        wanted: `(sides, classes)` rows of each class that each side wants.

    Returns:
        `(rows,)` int64: the side of each row, -1 for training.
    """
    sides = np.full(len(labels), -1, np.int64)
    lacking = wanted.astype(np.int64)
    left = np.bincount(labels, minlength=wanted.shape[1])
    for group in sorted(_whole(labels, groups), key=lambda group: draw("group", group.name)):
        if np.any(left[group.classes] == group.counts):
            continue
        lack = lacking[:, group.classes]
        nearer = (np.abs(lack) - np.abs(lack - group.counts)).sum(axis=1)
        side = int(nearer.argmax())
        if nearer[side] > 0:
            sides[group.rows] = side
            lacking[side, group.classes] -= group.counts
            left[group.classes] -= group.counts
    return sides


def fold(labels: np.ndarray, groups: np.ndarray, num_folds: int) -> np.ndarray:
    """Deals whole groups out to folds, so that each fold has its share of every class.

    The largest groups come first, of equal ones in the order of their hashes. Each goes to the
    fold that has least of its classes so far, of equal ones to the smallest, unless a class would
    be left without training rows there.

    Args:
        labels: `(rows,)` integers.
        groups: `(rows,)` str, the group of each row.
        num_folds: At least 2.

    Returns:
        `(rows,)` int64: the fold of each row, -1 where none can have it.
    """
    folds = np.full(len(labels), -1, np.int64)
    of_class = np.bincount(labels)
    dealt = np.zeros((num_folds, len(of_class)), np.int64)
    sizes = np.zeros(num_folds, np.int64)
    order = sorted(
        _whole(labels, groups), key=lambda group: (-len(group.rows), draw("group", group.name))
    )
    for group in order:
        here, all_rows = dealt[:, group.classes], of_class[group.classes]
        possible = np.flatnonzero(np.all(here + group.counts < all_rows, axis=1))
        if len(possible):
            fullness = (here * (group.counts / all_rows)).sum(axis=1)
            best = min(possible, key=lambda one: (fullness[one], sizes[one], one))
            folds[group.rows] = best
            dealt[best, group.classes] += group.counts
            sizes[best] += len(group.rows)
    return folds


def _whole(labels: np.ndarray, groups: np.ndarray) -> Iterator[_Group]:
    names, numbers, sizes = np.unique(
        np.asarray(groups, str), return_inverse=True, return_counts=True
    )
    in_groups = np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])
    for name, rows in zip(names, in_groups, strict=True):
        classes, counts = np.unique(labels[rows], return_counts=True)
        yield _Group(str(name), rows, classes, counts)

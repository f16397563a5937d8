"""Which rows are for training, validation and test, and which fold holds a row out."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from transfer.errors import InputError
from transfer.images import whole_groups
from transfer.images.draws import DRAWS, draw
from transfer.images.texts import TextArray

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What splits may be called, in any case, and how they are known here."""
RULE = 2
"""Of splits and folds; raised where the same images would fall elsewhere."""


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Checks that the fractions leave something to train on.

    Raises:
        InputError: If one is negative or the two reach 1.
    """
    each_fits = 0 <= val_fraction < 1 and 0 <= test_fraction < 1
    if not (each_fits and _as_typed(val_fraction) + _as_typed(test_fraction) < 1):
        raise InputError(
            "val_fraction and test_fraction must be at least 0 and together less than 1, "
            f"received {val_fraction} and {test_fraction}"
        )


def assign(
    ids: TextArray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    given: np.ndarray,
    val_fraction: float,
    test_fraction: float,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Completes the splits that are given by carving the missing ones from the training rows.

    Neither val nor test given: both are carved. Only test given: val is carved. Val given: nothing
    is. Of each class the shares are exact to the image, rounded up or down as a hash of the class's
    name says, so that they are right on average over many small classes. Within a class the images
    have an order by a hash of class and id: the first are for the test, the next for validation.
    An image more moves at most two others, both of its class: one from test to val or back, one
    from val to train or back. A class keeps at least one training row.

    With groups, each is on one side; `whole_groups.hold_out` has the rule. Splits that are given
    may separate a group.

    Args:
        ids: `(rows,)` unique str.
        labels: `(rows,)` integer indices into `class_names`.
        class_names: Names of the classes.
        given: `(rows,)` of "train", "val" or "test"; all "train" where no splits are given.
        val_fraction: Share of training rows that become val, 0 to 1.
        test_fraction: Share of training rows that become test, 0 to 1.
        groups: `(rows,)` str, the group of each row, or None.

    Returns:
        `(rows,)` str array of "train", "val" or "test".

    Raises:
        InputError: If the fractions are out of range, the splits given leave a class without
            training rows, or no row falls to val although `val_fraction` is above 0.
    """
    check_fractions(val_fraction, test_fraction)
    split = np.array(given, dtype="<U5")
    if not np.any(split == "val"):
        free = np.flatnonzero(split == "train")
        carved_test = 0.0 if np.any(split == "test") else test_fraction
        in_class = np.bincount(labels[free], minlength=len(class_names))
        wanted = np.array(
            [
                _held_out(name, int(count), val_fraction, carved_test)
                for name, count in zip(class_names, in_class, strict=True)
            ]
        ).T
        if groups is None:
            # Without a copy where nothing is given: there may be millions.
            some = slice(None) if len(free) == len(ids) else free
            ranks = _ranks(ids[some], labels[some], class_names)
            ends = np.cumsum(wanted, axis=0)[:, labels[free]]
            sides = np.where(ranks < ends[0], 0, np.where(ranks < ends[1], 1, -1))
        else:
            sides = whole_groups.hold_out(labels[free], groups[free], wanted)
        split[free] = np.array(["test", "val", "train"])[sides]
    _check(split, labels, class_names, val_fraction, groups)
    return split


def assign_folds(
    ids: TextArray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    num_folds: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Says in which fold of a cross-validation each row is held out.

    Each class's images are dealt out in the order of their hashes, one class going on where the
    one before ended: folds differ by at most one image of each class, and by at most one image in
    all. A class with fewer images than folds has them in different folds. In each fold every class
    keeps at least one training row. With groups, each is in one fold; `whole_groups.fold` has the
    rule.

    Args:
        ids: `(rows,)` unique str, of the rows to cross-validate on.
        labels: `(rows,)` integer indices into `class_names`.
        class_names: Names of the classes.
        num_folds: At least 2.
        groups: `(rows,)` str, the group of each row, or None.

    Returns:
        `(rows,)` int64, 0 to `num_folds` - 1, or -1 for rows that are never held out, because
        their class would be left without training rows: it has one image, or one group.

    Raises:
        InputError: If there are fewer than two folds.
    """
    if num_folds < 2:
        raise InputError(f"folds expect at least 2, received {num_folds}; ask for more")
    if groups is not None:
        return whole_groups.fold(labels, groups, num_folds)
    in_class = np.bincount(labels, minlength=len(class_names))
    dealt = np.where(in_class > 1, in_class, 0)
    starts = np.cumsum(dealt) - dealt
    folds = (starts[labels] + _ranks(ids, labels, class_names)) % num_folds
    return np.where(dealt[labels] > 0, folds, -1)


def classes_without(
    rows: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Names of the classes of which none of some rows is.

    Args:
        rows: `(rows,)` bool, those that count.
        labels: `(rows,)` integer indices into `class_names`.
        class_names: Names of the classes.
    """
    counts = np.bincount(labels[rows], minlength=len(class_names))
    return tuple(name for name, count in zip(class_names, counts, strict=True) if not count)


def _as_typed(fraction: float) -> Fraction:
    """0.2 as a fifth: a fifth of ten is two, and not a little more or less."""
    return Fraction(str(float(fraction)))


def _held_out(name: str, count: int, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """How many of a class's rows are for test and for val, each rounded down or up."""
    test = _as_typed(test_fraction) * count
    both = test + _as_typed(val_fraction) * count
    # One dither for both, and less than what is left for training: so that some of it stays.
    left = max(count - both - Fraction(1, DRAWS), Fraction(0))
    dither = min(Fraction(draw(name), DRAWS), left)
    num_test = math.floor(test + dither)
    return num_test, math.floor(both + dither) - num_test


def _ranks(ids: TextArray, labels: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """Returns `(rows,)` int64: the place of each row, from 0, in the order of its class."""
    pairs = zip(labels, ids, strict=True)
    draws = (draw(class_names[label], id) for label, id in pairs)
    order = np.lexsort((np.fromiter(draws, np.uint64, len(ids)), labels))
    in_class = np.bincount(labels, minlength=len(class_names))
    ranks = np.empty(len(ids), np.int64)
    ranks[order] = np.arange(len(ids)) - np.repeat(np.cumsum(in_class) - in_class, in_class)
    return ranks


def _check(
    split: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    val_fraction: float,
    groups: np.ndarray | None,
) -> None:
    if missing := classes_without(split == "train", labels, class_names):
        raise InputError(
            f"expected training images of each class, received none of {missing[0]!r} "
            f"({len(missing)} of {len(class_names)} classes): add some"
        )
    if val_fraction > 0 and not np.any(split == "val"):
        grouped = "" if groups is None else f" in {len(set(groups)):,} groups"
        smaller = "" if groups is None else ", make groups smaller"
        raise InputError(
            f"expected validation images, received none of {len(split):,}{grouped} at val_fraction "
            f"{val_fraction}: raise it, add images{smaller}, or give a val/ folder"
        )

"""Which rows are for training, validation and test."""

from __future__ import annotations

import hashlib

import numpy as np

from transfer.errors import InputError


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Checks that the fractions leave something to train on.

    Raises:
        InputError: If one is negative or the two reach 1.
    """
    if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
        raise InputError(
            "val_fraction and test_fraction must be at least 0 and together less than 1, "
            f"received {val_fraction} and {test_fraction}"
        )


def assign(
    ids: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    given: np.ndarray,
    val_fraction: float,
    test_fraction: float,
) -> np.ndarray:
    """Completes the splits that are given by carving the missing ones from the training rows.

    Neither val nor test given: both are carved. Only test given: val is carved. Val given: nothing
    is. Where a row goes depends on nothing but its class and id, so adding or removing an image
    moves no other; the proportions are therefore exact only in expectation, class by class.

    Args:
        ids: `(rows,)` unique str.
        labels: `(rows,)` integer indices into `class_names`.
        class_names: Names of the classes.
        given: `(rows,)` of "train", "val" or "test"; all "train" where no splits are given.
        val_fraction: Expected share of training rows that become val, 0 to 1.
        test_fraction: Expected share of training rows that become test, 0 to 1.

    Returns:
        `(rows,)` str array of "train", "val" or "test".

    Raises:
        InputError: If the fractions are out of range, a class is left without training rows, or
            no row falls to val although `val_fraction` is above 0.
    """
    check_fractions(val_fraction, test_fraction)
    split = np.array(given, dtype="<U5")
    if not np.any(split == "val"):
        position = np.ones(len(ids))
        for row in np.flatnonzero(split == "train"):
            position[row] = _position(class_names[labels[row]], ids[row])
        carved_test = 0.0 if np.any(split == "test") else test_fraction
        split[position < carved_test + val_fraction] = "val"
        split[position < carved_test] = "test"
    _check(split, labels, class_names, val_fraction)
    return split


def _position(class_name: str, id: str) -> float:
    """Returns a number in [0, 1], uniform over ids, the same everywhere and for ever."""
    digest = hashlib.sha256(f"{class_name}\0{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _check(
    split: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], val_fraction: float
) -> None:
    training = np.bincount(labels[split == "train"], minlength=len(class_names))
    missing = [name for name, count in zip(class_names, training, strict=True) if count == 0]
    if missing:
        raise InputError(
            f"each class needs training images, {missing[0]!r} has none "
            f"({len(missing)} of {len(class_names)} classes): "
            "add images, or lower val_fraction and test_fraction"
        )
    if val_fraction > 0 and not np.any(split == "val"):
        raise InputError(
            f"no image of {len(split)} fell to the validation split at val_fraction "
            f"{val_fraction}: raise it, add images, or give a val/ folder"
        )

"""A perceptual hash: 64 bits that a picture keeps when it is resized, recompressed or turned.

Bits are the signs of the lowest frequencies of a small grey picture. Source: Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010 (there: whether they are
above their median). Mirroring a picture turns the signs of odd frequencies, turning it on its side
exchanges rows and columns, so that all eight positions are known from one hash.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 32
"""Pixels of the small picture's sides."""
FREQUENCIES = 8
"""In each direction, the mean included."""
POSITIONS = (
    *("", "mirrored", "upside down", "turned by 180 degrees"),
    *("mirrored and turned", "turned by 90 degrees", "turned by 90 degrees", "mirrored and turned"),
)
"""In words, in the order of `distances`."""

_STEPS = np.arange(FREQUENCIES)
_COSINES = np.cos(np.pi * np.outer(_STEPS, np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
_ODD = _STEPS % 2 == 1


def hash_of(gray: Image.Image) -> np.ndarray:
    """The hash of one picture.

    Args:
        gray: A picture of mode "L", of any size.

    Returns:
        `(8, 8)` bool; the first, of the mean, says nothing and is always the same.
    """
    small = gray.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    spectrum = _COSINES @ np.asarray(small, np.float32) @ _COSINES.T
    spectrum[0, 0] = 0
    return spectrum > 0


def distances(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many bits two pictures differ in, in the position in which they are most alike.

    Args:
        one: `(pairs, 8, 8)` bool.
        other: The same, of the other pictures.

    Returns:
        `(pairs,)` int64 numbers of bits, 0 to 63; unlike pictures differ in some 25. And `(pairs,)`
        int64: which of `POSITIONS` one has to be brought into to become the other.
    """
    turned = (kept ^ flips for kept in (one, one.swapaxes(-1, -2)) for flips in _FLIPS)
    # The mean's bit is turned by no flip, so it never differs.
    bits = np.stack([(each != other).sum((-1, -2)) for each in turned])
    best = bits.argmin(0)
    return np.take_along_axis(bits, best[None], axis=0)[0], best


_FLIPS = (
    np.zeros((FREQUENCIES, FREQUENCIES), bool),
    np.broadcast_to(_ODD, (FREQUENCIES, FREQUENCIES)),
    np.broadcast_to(_ODD[:, None], (FREQUENCIES, FREQUENCIES)),
    _ODD ^ _ODD[:, None],
)

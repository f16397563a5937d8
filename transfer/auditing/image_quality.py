"""Blank, dark, bright, blurred, tiny and odd-sized pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageFilter

from transfer.auditing.robust import UNUSUAL, deviations

LOOKED_AT = 128
"""Pixels of the sides at which pictures are looked at: about what a backbone sees of them."""
FEW_LEVELS = 8.0
"""Grey levels between the 1st and the 99th percentile of a picture that is blank."""
DARK, BRIGHT = 50.0, 205.0
"""Grey levels: 19 of 20 pixels of a dark picture are below, of a bright one above."""
BLURRED = 0.25
"""Most detail of a picture that is blurred, see `Quality.detail`. Of 3,480 photographs all were
above 0.31; blurred by 1.5 % of their longer side most fell below 0.22."""
TINY = 64
"""Pixels of the shorter side."""
LONG = 3.0
"""Times as long as wide, or as wide as long."""
TIMES = 2.0
"""How far from the folder's median a size or a sharpness is odd."""


@dataclass(frozen=True)
class Quality:
    """What is measured of one picture.

    Attributes:
        levels: Grey levels between the 1st and the 99th percentile.
        dark: The 95th percentile, 0-255.
        bright: The 5th percentile, 0-255.
        detail: Contrast in details of a pixel, as a share of that in details of four: about 0.5 to
            1 in sharp pictures, and near 0 in blurred ones.
    """

    levels: float
    dark: float
    bright: float
    detail: float


def look_at(gray: Image.Image) -> Quality:
    """Measures one picture.

    Args:
        gray: Of mode "L", of any size; it is made smaller in place.
    """
    gray.thumbnail((LOOKED_AT, LOOKED_AT), Image.Resampling.BILINEAR, reducing_gap=3.0)
    least, low, high, most = np.percentile(np.asarray(gray), (1, 5, 95, 99))
    return Quality(float(most - least), float(high), float(low), _detail(gray))


def _detail(gray: Image.Image) -> float:
    scales = [
        np.asarray(gray.filter(ImageFilter.BoxBlur(radius)), np.float32) for radius in (0, 1, 4)
    ]
    fine, coarse = (float((a - b).std()) for a, b in pairwise(scales))
    return fine / coarse if coarse else 1.0


def faults_of(
    qualities: list[Quality], sizes: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which pictures are bad, by kind.

    Dark, bright, blurred, tiny and odd are those that are so by themselves, and unusual here: a
    folder of dark pictures is one of dark pictures.

    Args:
        qualities: Of each picture.
        sizes: `(images, 2)` heights and widths in pixels.

    Returns:
        Per kind the rows, the worst first, and a number for each that says how bad it is, in the
        units of what was measured.
    """
    levels, dark, bright, detail = (
        np.array([getattr(one, name) for one in qualities], float)
        for name in ("levels", "dark", "bright", "detail")
    )
    shorter, longer = sizes.min(1).astype(float), sizes.max(1).astype(float)
    ratio = longer / shorter
    blank = levels < FEW_LEVELS
    # Blank pictures have no detail, and dark ones little that is not noise.
    is_dark = (dark < DARK) & (deviations(dark) < -UNUSUAL) & ~blank
    is_bright = (bright > BRIGHT) & (deviations(bright) > UNUSUAL) & ~blank
    is_blurred = (detail < BLURRED) & (detail * TIMES < np.median(detail)) & ~blank
    found = {
        "blank": (blank, levels),
        "dark": (is_dark, dark),
        "bright": (is_bright, -bright),
        "blurred": (is_blurred, detail),
        "tiny": ((shorter < TINY) & (shorter * TIMES < np.median(shorter)), shorter),
        "odd size": ((ratio > LONG) & (ratio > TIMES * np.median(ratio)), -ratio),
    }
    return {kind: _worst_first(where, by) for kind, (where, by) in found.items()}


def _worst_first(where: np.ndarray, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(where)
    rows = rows[np.argsort(by[rows], kind="stable")]
    return rows, np.abs(by[rows])

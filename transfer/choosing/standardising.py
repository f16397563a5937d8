"""Features transformed and standardised, cut by cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from transfer.choosing.rows import Rows
from transfer.errors import InputError
from transfer.heads.standardised import blocks
from transfer.heads.transforms import Transform, transformed
from transfer.machine.processors import processors

FLOOR = 10.0
"""Added to each feature's variance, in mean variances of its cut.

With plain standardising a feature that hardly varies among a few hundred images weighs as much as
any other, and one image in which it is large is classed with certainty by it alone. With a floor
this high most features keep the weights that they have among themselves. Measured on six folders
of photographs, EfficientNet-Lite0, three splits each, cross-validated log loss of all cuts: 0.2677
without, and 0.2648, 0.2606, 0.2539, 0.2516, 0.2505, 0.2513 with 0.01, 0.1, 1, 3, 10 and 100 (with
roots 0.2616 and 0.2601, 0.2573, 0.2533, 0.2511, 0.2503, 0.2509). MobileNetV2, five folders, two
splits: 0.4259 without, 0.4257 with 1, 0.4262 with 10.
"""
LARGEST = 100.0
"""Variance, in medians of its cut, that counts in the mean at most: in some networks one feature is
thousands of times as large as the others, and would set the floor alone."""

CACHED_VALUES = 2**20
"""Few enough for a cache, in which all of a pass is done to them."""


@dataclass(frozen=True, eq=False)
class Standardised:
    """Standardised features, and what standardises them.

    Attributes:
        features: `(samples, num_features)` float32.
        mean: `(channels,)` float32, of the transformed features.
        variance: `(channels,)` float32, with its floor: what a head's first layer divides by the
            root of.
        transform: What was done first.
    """

    features: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    transform: Transform


def standardised(rows: Rows, transform: Transform, first: int = 0) -> Standardised:
    """Transforms and standardises the features from column `first` on, by all samples.

    Raises:
        InputError: If a feature is not finite.
    """
    given = rows.features[:, first:]
    num_rows, width = given.shape
    features = np.empty((num_rows, width), np.float32)
    channels = rows.channels or width
    by_channel = features.reshape(-1, channels)

    def fill(block: slice) -> np.ndarray:
        features[block] = transformed(given[block], transform)
        return features[block].sum(0, dtype=np.float64)

    def center(block: slice) -> np.ndarray:
        by_channel[block] -= mean
        return np.square(by_channel[block], dtype=np.float64).sum(0)

    def scale(block: slice) -> None:
        by_channel[block] /= deviation

    with ThreadPoolExecutor(processors()) as pool:
        sums = np.sum([*pool.map(fill, blocks(num_rows, width, CACHED_VALUES))], axis=0)
        of_channels = sums.reshape(-1, channels).sum(0)
        mean = (of_channels / len(by_channel)).astype(np.float32)
        in_blocks = list(blocks(len(by_channel), channels, CACHED_VALUES))
        squares = np.sum([*pool.map(center, in_blocks)], axis=0)
        variance = _checked(squares) / len(by_channel)
        for cut in _columns(rows.widths, first) if rows.channels is None else [slice(None)]:
            variance[cut] = _with_floor(variance[cut])
        deviation = np.sqrt(variance).astype(np.float32)
        list(pool.map(scale, in_blocks))
    return Standardised(features, mean, variance.astype(np.float32), transform)


def _checked(squares: np.ndarray) -> np.ndarray:
    if not np.isfinite(squares).all():
        raise InputError(
            "choosing a head expects finite features, received NaN or infinity; "
            "make the features again"
        )
    return squares


def _with_floor(variance: np.ndarray) -> np.ndarray:
    """Of one cut; 1 throughout for one that never changes."""
    most = LARGEST * np.median(variance)
    typical = np.minimum(variance, most).mean() if most else variance.mean()
    # So that features which all vary alike are standardised to a variance of 1.
    return (variance + FLOOR * typical) / (1 + FLOOR) if typical else np.ones_like(variance)


def _columns(widths: Sequence[int], first: int) -> Iterator[slice]:
    """The columns of each cut, where those before `first` are gone."""
    ends = np.cumsum(widths) - first
    for width, end in zip(widths, ends.tolist(), strict=True):
        if end > 0:
            yield slice(end - width, end)

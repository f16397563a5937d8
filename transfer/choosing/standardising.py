"""Features transformed and standardised, cut by cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from transfer.choosing.rows import Rows
from transfer.errors import InputError
from transfer.heads.features import feature_statistics
from transfer.heads.standardised import blocks
from transfer.heads.transforms import Transform, transformed

FLOOR = 1.0
"""Added to each feature's variance, as a share of the mean variance in its cut.

Without it a feature that hardly varies among a few hundred images weighs as much as any other, and
one image in which it is large is classed with certainty by it alone. Measured on six folders of
photographs, three times each, cross-validated log loss of all cuts: 0.2677 without, 0.2648, 0.2606
and 0.2539 with 0.01, 0.1 and 1.
"""


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
    features = transformed(rows.features[:, first:], transform)
    channels = rows.channels or features.shape[1]
    mean, variance = feature_statistics(features.reshape(-1, channels))
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise InputError(
            "choosing a head expects finite features, received NaN or infinity; "
            "make the features again"
        )
    for cut in _columns(rows.widths, first) if rows.channels is None else [slice(None)]:
        variance[cut] += FLOOR * variance[cut].mean()
    repeated = features.shape[1] // channels
    shift, scale = np.tile(mean, repeated), np.tile(1 / np.sqrt(variance), repeated)
    for block in blocks(*features.shape):
        features[block] -= shift
        features[block] *= scale
    return Standardised(features, mean, variance, transform)


def _columns(widths: Sequence[int], first: int) -> Iterator[slice]:
    """The columns of each cut, where those before `first` are gone."""
    ends = np.cumsum(widths) - first
    for width, end in zip(widths, ends.tolist(), strict=True):
        if end > 0:
            yield slice(end - width, end)

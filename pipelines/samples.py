"""Features of some rows of a file as a head sees them: view by view, from memory or from disk."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureFile
from pipelines.machine.memory import available_memory, in_words
from transfer.heads.samples import Samples

if TYPE_CHECKING:
    from transfer.heads.features import Features

GIB = 2**30
SHARE_OF_MEMORY = 0.5
"""Of what is free, for features; the rest is for training, and for other programs."""
SHARE_OF_BUDGET = 0.25
"""Of one buffer where features are streamed: there are two of them, and batches on the way."""

LEAST_BUFFER = 2**24
"""Bytes, where nobody set a budget: with less, a full machine would read row by row."""


def memory_for(budget: float | None) -> float:
    """Bytes for what training reads.

    Args:
        budget: In GiB, or None for half of what is free.
    """
    return budget * GIB if budget is not None else SHARE_OF_MEMORY * available_memory()


def read_samples(
    features: FeatureFile,
    groups: Sequence[np.ndarray],
    cuts: tuple[str, ...],
    budget: float | None,
) -> list[Samples]:
    """Reads the samples of groups of rows, or leaves them all on disk if they are too large.

    Args:
        features: The file; it must stay open as long as samples that were left there are in use.
        groups: Increasing row numbers, per group.
        cuts: Cuts that the head sees, joined; all if empty.
        budget: Memory for features in GiB, or None for half of what is free.

    Returns:
        One per group. Says so on standard output where they are left on disk.
    """
    num_bytes = memory_for(budget)
    row_bytes = features.dtype.itemsize * int(np.prod(features.joined_shape(cuts)))
    needed = row_bytes * sum(map(len, groups))
    if needed <= num_bytes:
        return [_samples(features, rows, cuts, None) for rows in groups]
    print(
        f"features: {in_words(needed)} are streamed from the file; "
        f"the memory for them is {in_words(num_bytes)}"
    )
    least = LEAST_BUFFER if budget is None else 1
    buffer_bytes = max(least, int(SHARE_OF_BUDGET * num_bytes))
    return [_samples(features, rows, cuts, buffer_bytes) for rows in groups]


def _samples(
    features: FeatureFile, rows: np.ndarray, cuts: tuple[str, ...], buffer_bytes: int | None
) -> Samples:
    views = len(features.spec.views)
    shape = features.joined_shape(cuts)[1:] if views > 1 else features.joined_shape(cuts)
    values: Features
    if buffer_bytes is None:
        values = features.read(rows, cuts).reshape(-1, *shape)
    else:
        from transfer.heads.features import StoredFeatures

        def read(wanted: np.ndarray) -> np.ndarray:
            return features.read(wanted, cuts, threads=1)  # training goes on beside it

        values = StoredFeatures(read, rows, shape, views, buffer_bytes=buffer_bytes)
    return Samples(values, np.repeat(features.labels[rows], views), views)

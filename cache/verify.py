"""Says whether a sealed file still holds what was written, and exactly which rows do not."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cache.checksums import digest, row_checksums
from cache.errors import CacheError
from cache.reader import FeatureFile

_TABLES = (
    "labels",
    "ids",
    "given_split",
    "class_names",
    "image_digests",
    "parts",
    "skipped_ids",
    "skipped_reasons",
)


@dataclass(frozen=True)
class Verification:
    """What was found in a feature file.

    Attributes:
        num_rows: Rows in the file.
        damaged: Per cut with damage the numbers of the damaged rows, increasing.
        damaged_tables: What else cannot be trusted: ids, labels and the like; one line each.
    """

    num_rows: int
    damaged: Mapping[str, np.ndarray]
    damaged_tables: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damaged and not self.damaged_tables

    @property
    def rows(self) -> np.ndarray:
        """Increasing numbers of the rows that are damaged in any cut."""
        return np.unique(np.concatenate([np.arange(0), *self.damaged.values()]))


def verify(features: FeatureFile) -> Verification:
    """Reads a whole feature file and compares it with its checksums, part by part.

    Memory stays at about one part.
    """
    tables = []
    for name in _TABLES:
        try:
            features.table(name)
        except CacheError as error:
            tables.append(str(error))
    damaged = {}
    for cut in features.cuts:
        try:
            rows = _damaged_rows(features, cut)
        except CacheError as error:
            tables.append(str(error))
            continue
        if len(rows):
            damaged[cut] = rows
    return Verification(len(features), damaged, tuple(tables))


def sound_rows(features: FeatureFile, cut: str) -> np.ndarray:
    """Which rows of a cut are as they were written: `(rows,)` bool; none if none can be read."""
    step = features.rows_per_chunk(cut)
    try:
        expected = features.checksums(cut, "rows")
        found = [
            row_checksums(features.chunk(cut, index))
            for index in range(-(-features.num_stored // step))
        ]
    except CacheError:
        return np.zeros(len(features), bool)
    sound = np.concatenate([np.empty(0, np.uint32), *found]) == expected
    return sound[features.stored_rows]


def _damaged_rows(features: FeatureFile, cut: str) -> np.ndarray:
    """The sha256 of a part decides; the checksums of its rows say which of them it is about."""
    bounds, expected = features.parts, features.checksums(cut, "parts")
    row_sums = features.checksums(cut, "rows")
    damaged = [np.arange(0)]
    for number, (start, stop) in enumerate(pairwise(bounds.tolist())):
        values = _unchecked(features, cut, start, stop)
        if bytes.fromhex(digest(values)) != expected[number].tobytes():
            rows = start + np.flatnonzero(row_checksums(values) != row_sums[start:stop])
            damaged.append(rows if len(rows) else np.arange(start, stop))
    return np.flatnonzero(np.isin(features.stored_rows, np.concatenate(damaged)))


def _unchecked(features: FeatureFile, cut: str, start: int, stop: int) -> np.ndarray:
    step = features.rows_per_chunk(cut)
    first = start // step
    chunks = [features.chunk(cut, index) for index in range(first, -(-stop // step))]
    empty = np.empty((0, *features.shape(cut)), features.dtype)
    return np.concatenate([empty, *chunks])[start - first * step : stop - first * step]

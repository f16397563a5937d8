"""Features, in memory or on disk, a block at a time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLOCK_BYTES = 2**22
"""Of one block, at most: much larger than a chunk of HDF5, so that few chunks are read twice."""
BLOCKS_PER_BUFFER = 32
"""At least: where files are sorted by class, the blocks of one buffer are what mixes classes."""


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Features that stay on disk, in blocks of neighbouring rows.

    A sample is one view of one row: sample number s is view `s % views` of row `rows[s // views]`.

    Raises:
        ValueError: If a number is less than 1, or the rows do not increase.
    """

    read: Callable[[np.ndarray], np.ndarray]
    """Takes `(n,)` strictly increasing row numbers; returns `(n, *sample_shape)` float32 or
    float16, or with several views `(n, views, *sample_shape)`. It runs in a thread of its own."""
    rows: np.ndarray
    """`(rows,)` int64, strictly increasing: the rows of this split in the file."""
    sample_shape: tuple[int, ...]
    """Shape of one sample's features."""
    views: int = 1
    """Views per row."""
    block_rows: int | None = None
    """Rows that are read and shuffled together; by default 4 MiB of them, or a 32nd buffer."""
    buffer_bytes: int = 2**28
    """Of a buffer of blocks, at 4 bytes a value; samples are shuffled within it."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        if (
            min(self.views, self.buffer_bytes, 1 if self.block_rows is None else self.block_rows)
            < 1
        ):
            raise ValueError(
                "stored features expect views, block_rows and buffer_bytes of at least 1, received "
                f"{self.views}, {self.block_rows} and {self.buffer_bytes}"
            )
        if np.any(np.diff(self.rows) <= 0):
            raise ValueError("stored features expect strictly increasing rows")

    def __len__(self) -> int:
        return len(self.rows) * self.views

    @property
    def shape(self) -> tuple[int, ...]:
        """`(samples, *sample_shape)`, as of an array."""
        return (len(self), *self.sample_shape)

    @cached_property
    def rows_per_block(self) -> int:
        """Rows of one block, never more than fit into a buffer; the last block may be smaller."""
        size = min(BLOCK_BYTES, self.buffer_bytes // BLOCKS_PER_BUFFER)
        wanted = self.block_rows or max(1, size // self._row_bytes)
        return min(wanted, max(1, self.buffer_bytes // self._row_bytes))

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return math.ceil(len(self.rows) / self.rows_per_block)

    @property
    def num_buffers(self) -> int:
        """The fewest buffers that hold all blocks."""
        blocks = max(1, self.buffer_bytes // (self._row_bytes * self.rows_per_block))
        return math.ceil(self.num_blocks / blocks)

    @property
    def _row_bytes(self) -> int:
        return max(1, 4 * self.views * math.prod(self.sample_shape))

    def places_of(self, blocks: np.ndarray) -> np.ndarray:
        """Indices into `rows` of the rows in some blocks, in the order of the blocks."""
        places = blocks[:, None] * self.rows_per_block + np.arange(self.rows_per_block)
        return places[places < len(self.rows)]

    def samples_of(self, places: np.ndarray) -> np.ndarray:
        """Numbers of all samples of the rows at some places, in their order."""
        return (places[:, None] * self.views + np.arange(self.views)).ravel()

    def read_places(self, places: np.ndarray) -> np.ndarray:
        """Reads all samples of some rows.

        Args:
            places: `(n,)` strictly increasing indices into `rows`.

        Returns:
            `(n * views, *sample_shape)` in the file's dtype.

        Raises:
            ValueError: If `read` returns another shape. Says received and expected.
        """
        values = self.read(self.rows[places])
        of_row = self.sample_shape if self.views == 1 else (self.views, *self.sample_shape)
        if values.shape != (len(places), *of_row):
            raise ValueError(
                f"read: expected shape {(len(places), *of_row)}, received {values.shape}"
            )
        return values.reshape(len(places) * self.views, *self.sample_shape)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields `(samples, *sample_shape)` per block, in order, in the file's dtype."""
        for block in range(self.num_blocks):
            yield self.read_places(self.places_of(np.array([block])))


Features = np.ndarray | StoredFeatures
"""`(samples, ...)` features, in memory or on disk."""


def feature_blocks(features: Features) -> Iterator[np.ndarray]:
    """Yields consecutive `(samples, ...)` parts of features, few enough to compute with."""
    if isinstance(features, StoredFeatures):
        yield from features.blocks()
        return
    for start in range(0, len(features), 1024):
        yield features[start : start + 1024]


def feature_statistics(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per channel, in float64, block by block.

    Args:
        features: `(samples, ..., channels)` of any float dtype, in memory or on disk.

    Returns:
        Two `(channels,)` float32 arrays. The variance of a channel that (almost) never changes
        is given as 1, so that standardising it cannot blow up noise.

    Raises:
        ValueError: If there are no samples.
    """
    if not len(features):
        raise ValueError("statistics expect at least one sample, received none")
    channels = features.shape[-1]
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    shift = np.zeros(channels)
    for values in feature_blocks(features):
        block = values.reshape(-1, channels).astype(np.float64)
        # Shifted by one sample: the plain sum of squares would cancel where mean >> spread.
        shift = shift if count else block[0].copy()
        block -= shift
        count += len(block)
        total += block.sum(0)
        squares += np.square(block).sum(0)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    variance[variance < 1e-10 * max(1.0, float(variance.max()))] = 1.0
    return (mean + shift).astype(np.float32), variance.astype(np.float32)

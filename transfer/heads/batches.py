"""What `fit` reads: batches of rows in an order that a seed decides, from memory or from disk."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

BLOCK_BYTES = 2**22
"""Of one block, at most: much larger than a chunk of HDF5, so that few chunks are read twice."""
BLOCKS_PER_BUFFER = 32
"""At least: where files are sorted by class, the blocks of one buffer are what mixes classes."""


class ShuffledBatches(keras.utils.PyDataset):
    """Rows cut into batches, in an order drawn anew in every epoch.

    Keras's own shuffling draws from Python's global generator, so that a resumed run would see
    other batches; pass `shuffle=False` to `fit`.

    Args:
        num_rows: Rows of one epoch.
        batch_size: Rows of one batch; the last may be smaller.
        seed: If given, each epoch's order is drawn from it; else rows come in order.
        epoch: Number of the first epoch, so that a resumed run draws other orders.
        workers: Threads that make batches.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        workers: int = 1,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=8)
        self._num_rows, self._batch_size = num_rows, batch_size
        self._seed, self._epoch = seed, epoch
        self._order = self._draw_order()

    def __len__(self) -> int:
        return math.ceil(self._num_rows / self._batch_size)

    def chosen(self, index: int) -> np.ndarray:
        """Positions, 0 to `num_rows`, of the rows in batch number `index`."""
        return self._order[index * self._batch_size : (index + 1) * self._batch_size]

    def on_epoch_end(self) -> None:
        """Draws the next epoch's order."""
        self._epoch += 1
        self._order = self._draw_order()

    def _draw_order(self) -> np.ndarray:
        if self._seed is None:
            return np.arange(self._num_rows)
        return np.random.default_rng((self._seed, self._epoch)).permutation(self._num_rows)


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


def feature_batches(
    features: Features,
    targets: np.ndarray,
    batch_size: int,
    seed: int | None = None,
    epoch: int = 0,
) -> "FeatureBatches | StreamedBatches":
    """Batches of features and targets, from memory or from disk.

    Args:
        features: `(samples, ...)` float32 or float16.
        targets: `(samples, ...)`, from `targets`.
        batch_size: Samples of one batch.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.

    Raises:
        ValueError: If there are not as many targets as samples.
    """
    if len(features) != len(targets):
        raise ValueError(f"expected {len(features)} targets, one a sample, received {len(targets)}")
    if isinstance(features, StoredFeatures):
        return StreamedBatches(features, targets, batch_size, seed, epoch)
    return FeatureBatches(features, targets, batch_size, seed, epoch)


class FeatureBatches(ShuffledBatches):
    """Batches picked from one array: `fit` would copy an array that it is given, twice for a while.

    Args:
        features: `(rows, ...)` float32 or float16.
        targets: `(rows, ...)`, from `targets`.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.
    """

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__(len(features), batch_size, seed, epoch)
        self._features, self._targets = features, targets

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: float32 features, and targets."""
        chosen = self.chosen(index)
        return self._features[chosen].astype(np.float32, copy=False), self._targets[chosen]


class StreamedBatches(ShuffledBatches):
    """Batches of features that stay on disk, shuffled without reading single rows.

    Each epoch draws an order of the blocks, fills buffers with blocks in that order, and draws
    an order of the samples within each buffer. While batches are cut from one buffer, a thread
    reads the next. In memory are two buffers, what `read` needs besides, and 16 bytes per sample
    for the order. The thread ends with the epoch, or after the read that it is at, when the
    batches are dropped or Python ends. Features that fit into one buffer are read once and kept.

    Args:
        features: What to read; says how large blocks and buffers are.
        targets: `(samples, ...)`, from `targets`.
        batch_size: Samples of one batch; a batch may span buffers.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.
    """

    def __init__(
        self,
        features: StoredFeatures,
        targets: np.ndarray,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        self._features, self._targets = features, targets
        self._lock = threading.Lock()  # Keras may still run one iterator when it starts another
        self._reader = ThreadPoolExecutor(1, "features")
        self._futures: dict[int, Future[np.ndarray]] = {}
        self.error: Exception | None = None
        super().__init__(len(features), batch_size, seed, epoch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: float32 features, and targets; any order works, upwards is fast."""
        with self._lock:
            chosen = self.chosen(index)
            start = index * self._batch_size
            slots = self._slots[start : start + len(chosen)]
            numbers = np.searchsorted(self._ends, np.arange(start, start + len(chosen)), "right")
            features = np.empty((len(chosen), *self._features.sample_shape), np.float32)
            for number in np.unique(numbers).tolist():
                here = numbers == number
                features[here] = self._buffer(number)[slots[here]]
            return features, self._targets[chosen]

    def on_epoch_end(self) -> None:
        """Draws the next epoch's order; drops the buffers and ends the thread."""
        with self._lock:
            self._reader.shutdown(cancel_futures=True)
            self._reader = ThreadPoolExecutor(1, "features")
            if len(self._buffers) > 1:
                self._futures.clear()
            super().on_epoch_end()

    def _draw_order(self) -> np.ndarray:
        """Samples in the epoch's order; notes each buffer's rows and each sample's slot in it."""
        stored = self._features
        generator = None if self._seed is None else np.random.default_rng((self._seed, self._epoch))
        permutation = generator.permutation if generator else np.arange
        # Buffers of nearly equal size: a small last one would end each epoch poorly shuffled.
        parts = np.array_split(permutation(stored.num_blocks), max(1, stored.num_buffers))
        self._buffers = [stored.places_of(np.sort(blocks)) for blocks in parts]
        samples = [stored.samples_of(places) for places in self._buffers]
        slots = [permutation(len(part)) for part in samples]
        self._ends = np.cumsum([len(part) for part in samples])
        self._slots = np.concatenate(slots)
        return np.concatenate([part[slot] for part, slot in zip(samples, slots, strict=True)])

    def _buffer(self, number: int) -> np.ndarray:
        """The samples of a buffer, in the file's order; has the next buffer read meanwhile."""
        wanted = range(number, min(number + 2, len(self._buffers)))
        for other in self._futures.keys() - set(wanted):
            self._futures.pop(other).cancel()
        for other in wanted:
            if other not in self._futures:
                places = self._buffers[other]
                self._futures[other] = self._reader.submit(self._features.read_places, places)
        try:
            return self._futures[number].result()
        except Exception as error:
            self.error = error
            raise


@contextmanager
def reading_errors(*batches: ShuffledBatches | None) -> Iterator[None]:
    """Raises what went wrong in reading as itself: TensorFlow makes errors of its own of it."""
    try:
        yield
    except Exception:
        for one in batches:
            if isinstance(one, StreamedBatches) and one.error:
                raise one.error from None
        raise

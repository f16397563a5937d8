"""What `fit` reads: batches of rows in an order that a seed decides, from memory or from disk."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import keras
import numpy as np

from transfer.heads.features import Features, StoredFeatures


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
            first, last = np.searchsorted(self._ends, [start, start + len(chosen) - 1], "right")
            of_each = np.split(slots, self._ends[first:last] - start)
            numbers = range(first, last + 1)
            picked = [self._buffer(at)[some] for at, some in zip(numbers, of_each, strict=True)]
            features = picked[0] if len(picked) == 1 else np.concatenate(picked)
            return features.astype(np.float32, copy=False), self._targets[chosen]

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

"""What `fit` reads: batches of rows in an order that a seed decides."""

import math

import keras
import numpy as np


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


class FeatureBatches(ShuffledBatches):
    """Batches picked from one array: `fit` would copy an array that it is given, twice for a while.

    Args:
        features: `(rows, ...)` float32.
        targets: `(rows, ...)`, from `targets`.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`.
    """

    def __init__(
        self, features: np.ndarray, targets: np.ndarray, batch_size: int, seed: int | None = None
    ) -> None:
        super().__init__(len(features), batch_size, seed)
        self._features, self._targets = features, targets

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: features and targets."""
        chosen = self.chosen(index)
        return self._features[chosen], self._targets[chosen]

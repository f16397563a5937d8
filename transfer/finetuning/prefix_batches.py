"""Batches of what a frozen prefix made of images, for `fit`."""

import numpy as np

from transfer.heads.batches import ShuffledBatches


class PrefixBatches(ShuffledBatches):
    """Batches of stored outputs of a frozen prefix, each image in a view drawn anew.

    Args:
        outputs: Per input of the suffix `(images, views, ...)` float16 or float32.
        rows: `(n,)` row numbers.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`; without one, each image comes in its first view.
        epoch: See `ShuffledBatches`.
    """

    def __init__(
        self,
        outputs: list[np.ndarray],
        rows: np.ndarray,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__(len(rows), batch_size, seed, epoch)
        self._outputs, self._rows = outputs, rows

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Batch number `index`: float32, one array per input of the suffix."""
        rows = self._rows[self.chosen(index)]
        views = self._views(index, len(rows))
        return tuple(output[rows, views].astype(np.float32) for output in self._outputs)

    def _views(self, index: int, count: int) -> np.ndarray:
        if self._seed is None:
            return np.zeros(count, int)
        generator = np.random.default_rng((self._seed, self._epoch, index))
        return generator.integers(0, self._outputs[0].shape[1], count)

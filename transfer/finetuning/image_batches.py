"""Batches of pixels, for `fit`."""

import numpy as np

from transfer.heads.batches import ShuffledBatches
from transfer.images.decoding import resize
from transfer.images.imageset import ImageSet


class ImageBatches(ShuffledBatches):
    """Batches of some rows of an image set, for `fit`.

    Args:
        images: Where the pixels are.
        rows: `(n,)` row numbers.
        targets: `(n, ...)` what the model should say of each.
        image_size: Images of several sizes are resized to it; images of one size that is no
            larger stay as they are, for the model to resize.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: np.ndarray,
        targets: np.ndarray,
        image_size: tuple[int, int],
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__(len(rows), batch_size, seed, epoch, workers=2)
        self._images, self._rows, self._targets = images, rows, targets
        self._image_size = image_size
        self._native = common_size(images, rows, image_size)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images in a batch."""
        return self._native or self._image_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: float32 pixels `(batch, h, w, 3)`, 0-255 RGB, and targets."""
        chosen = self.chosen(index)
        pixels = [self._images.read(int(row)) for row in self._rows[chosen]]
        if self._native is None:
            pixels = [resize(image, self._image_size) for image in pixels]
        return np.stack(pixels).astype(np.float32, copy=False), self._targets[chosen]


def common_size(
    images: ImageSet, rows: np.ndarray, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    """The one size that all rows have, if it is no larger than `image_size`; else None."""
    size: tuple[int, int] | None = None
    for row in rows:
        height, width = images.read(int(row)).shape[:2]
        if size not in (None, (height, width)) or height > image_size[0] or width > image_size[1]:
            return None
        size = (height, width)
    return size

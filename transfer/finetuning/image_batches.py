"""Batches of pixels, for `fit`."""

import numpy as np

from transfer.heads.batches import ShuffledBatches
from transfer.images.decoding import resize
from transfer.images.imageset import ImageSet


class ImageBatches(ShuffledBatches):
    """Batches of some rows of an image set, decoded once as far as memory allows.

    Pixels travel as bytes, which the model makes floats of. Images that are resized are rounded
    for it, by half a grey level at most: less than any augmentation changes, but scores that must
    equal those of cached features are to be taken from pixels of `ImageSet.batches`. On
    photographs resized to 160 x 160 rounding is off by 0.5 at worst and 0.29 in the root mean
    square; float16 would be off by 0.06, in twice the memory.

    Images are decoded by the threads that make batches, when they are first asked for.

    Args:
        images: Where the pixels are.
        rows: `(n,)` row numbers.
        targets: `(n, ...)` what the model should say of each.
        image_size: Images of several sizes are resized to it; images of one size that is no
            larger stay as they are, for the model to resize.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.
        memory: Bytes that decoded images may take; the images beyond are decoded in each epoch.
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
        memory: int = 2**31,
    ) -> None:
        super().__init__(len(rows), batch_size, seed, epoch, workers=2)
        self._images, self._rows, self._targets = images, rows, targets
        self._image_size = image_size
        self._native = common_size(images, rows, image_size)
        shape = (*self.input_size, 3)
        in_memory_already = self._native is not None and isinstance(images.source, np.ndarray)
        room = 0 if in_memory_already else min(len(rows), memory // int(np.prod(shape)))
        # Of the operating system's memory each page is taken when it is first written to.
        self._kept = np.empty((room, *shape), np.uint8)
        self._is_kept = np.zeros(room, bool)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images in a batch."""
        return self._native or self._image_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: uint8 pixels `(batch, h, w, 3)`, 0-255 RGB, and targets."""
        chosen = self.chosen(index)
        pixels = np.empty((len(chosen), *self.input_size, 3), np.uint8)
        for place, position in zip(pixels, chosen.tolist(), strict=True):
            place[...] = self._pixels(position)
        return pixels, self._targets[chosen]

    def _pixels(self, position: int) -> np.ndarray:
        """The image at a position of `rows`, uint8 `(h, w, 3)`, from memory if it is there."""
        if position >= len(self._kept):
            return self._decode(position)
        if not self._is_kept[position]:
            # Two threads may meet here where Keras has an old iterator end while a new one begins:
            # both write the same bytes, and nobody reads them before one of them is through.
            self._kept[position] = self._decode(position)
            self._is_kept[position] = True
        return self._kept[position]

    def _decode(self, position: int) -> np.ndarray:
        image = self._images.read(int(self._rows[position]))
        if self._native is not None:
            return image
        return np.rint(resize(image, self._image_size)).astype(np.uint8)


def common_size(
    images: ImageSet, rows: np.ndarray, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    """The one size that all rows have, if it is no larger than `image_size`; else None.

    Nothing is decoded: sizes are read from the heads of the files, up to the first that differs.
    """
    size: tuple[int, int] | None = None
    if isinstance(images.source, np.ndarray):
        rows = rows[:1]
    for row in rows:
        height, width = images.size(int(row))
        if size not in (None, (height, width)) or height > image_size[0] or width > image_size[1]:
            return None
        size = (height, width)
    return size

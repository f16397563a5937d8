"""Pixels for fine-tuning: decoded once as far as memory allows, and batches of them for `fit`."""

from typing import TYPE_CHECKING

import numpy as np

from transfer.heads.batches import ShuffledBatches
from transfer.images.decoding import resize
from transfer.images.imageset import ImageSet

if TYPE_CHECKING:
    import keras


class DecodedImages:
    """Pixels of an image set as bytes, decoded when they are first asked for.

    Images that are resized are rounded for it, by half a grey level at most: less than any random
    change, but scores that must equal those of cached features are to be taken from pixels of
    `ImageSet.batches`. On photographs resized to 160 x 160 rounding is off by 0.5 at worst and
    0.29 in the root mean square; float16 would be off by 0.06, in twice the memory.

    Args:
        images: Where the pixels are.
        image_size: Images of several sizes are resized to it; images of one size that is no
            larger stay as they are, for the model to resize.
        memory: Bytes that decoded images may take; the images beyond are decoded in each epoch.
    """

    def __init__(self, images: ImageSet, image_size: tuple[int, int], memory: int = 2**31) -> None:
        self._images, self._image_size = images, image_size
        self._native = common_size(images, np.arange(len(images)), image_size)
        shape = (*self.size, 3)
        in_memory_already = self._native is not None and isinstance(images.source, np.ndarray)
        room = 0 if in_memory_already else min(len(images), memory // int(np.prod(shape)))
        # Of the operating system's memory each page is taken when it is first written to.
        self._kept = np.empty((room, *shape), np.uint8)
        self._is_kept = np.zeros(room, bool)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pixels."""
        return self._native or self._image_size

    def read(self, row: int) -> np.ndarray:
        """One image, uint8 `(h, w, 3)`, 0-255 RGB, from memory if it is there."""
        if row >= len(self._kept):
            return self._decode(row)
        if not self._is_kept[row]:
            # Two threads may meet here where Keras has an old iterator end while a new one begins:
            # both write the same bytes, and nobody reads them before one of them is through.
            self._kept[row] = self._decode(row)
            self._is_kept[row] = True
        return self._kept[row]

    def preparing_layers(self) -> "list[keras.layers.Layer]":
        """Layers that make of the bytes what a backbone's preprocessing takes."""
        from keras import layers

        chosen: list[keras.layers.Layer] = [layers.Rescaling(1.0, dtype="float32")]
        if self.size != tuple(self._image_size):
            chosen.append(layers.Resizing(*self._image_size, antialias=True, dtype="float32"))
        return chosen

    def _decode(self, row: int) -> np.ndarray:
        image = self._images.read(row, self._image_size)
        if self._native is not None:
            return image
        return np.rint(resize(image, self._image_size)).astype(np.uint8)


class ImageBatches(ShuffledBatches):
    """Batches of the pixels of some rows, uint8 `(batch, h, w, 3)`, 0-255 RGB.

    Args:
        images: Where the pixels are.
        rows: `(n,)` row numbers.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.
    """

    def __init__(
        self,
        images: DecodedImages,
        rows: np.ndarray,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__(len(rows), batch_size, seed, epoch, workers=2)
        self._images, self._rows = images, rows

    def __getitem__(self, index: int) -> np.ndarray:
        """Batch number `index`."""
        return np.stack([self._images.read(int(row)) for row in self._rows[self.chosen(index)]])


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

"""Batches of pixels: every row once an epoch, in a size that nothing shrinks to."""

import numpy as np

from tests.transfer.finetuning.small_classifier import image_set
from transfer.finetuning.image_batches import ImageBatches, common_size


def test_batches_hold_every_row_once_and_shuffle_anew():
    images = image_set()
    rows = np.arange(24)
    batches = ImageBatches(images, rows, rows, (32, 32), 7, seed=3)
    epochs = []
    for _ in range(2):
        parts = [batches[index] for index in range(len(batches))]
        epochs.append(np.concatenate([targets for _, targets in parts]))
        for pixels, targets in parts:
            np.testing.assert_array_equal(pixels, images.source[targets])
        batches.on_epoch_end()
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(rows)
    assert not np.array_equal(epochs[0], epochs[1])
    again = ImageBatches(images, rows, rows, (32, 32), 24, seed=3, epoch=1)
    np.testing.assert_array_equal(again[0][1], epochs[1])


def test_common_size_is_native_only_where_nothing_shrinks():
    images = image_set(size=16)
    assert common_size(images, np.arange(36), (32, 32)) == (16, 16)
    assert common_size(images, np.arange(36), (8, 32)) is None
    large = ImageBatches(images, np.arange(4), np.arange(4), (8, 8), 4)
    assert large.input_size == (8, 8)
    assert large[0][0].shape == (4, 8, 8, 3)

"""Batches of pixels: every row once an epoch, decoded once, in a size that nothing shrinks to."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.transfer.finetuning.small_classifier import image_set
from tests.transfer.images.test_decoding import encoded
from tests.transfer.images.test_imageset import set_of
from transfer.finetuning.image_batches import ImageBatches, common_size
from transfer.images.decoding import resize
from transfer.images.imageset import ImageSet

ROWS = np.arange(12)
BYTES = 8 * 8 * 3


def noise(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture
def photos(tmp_path):
    """12 files of several sizes, and their pixels."""
    pixels = noise((20 + row, 30) for row in range(12))
    return set_of(tmp_path, [encoded(Image.fromarray(image)) for image in pixels]), pixels


@pytest.fixture
def reads(monkeypatch):
    """Fills with the rows that are decoded."""
    done, read = [], ImageSet.read

    def noting(self, row):
        done.append(row)
        return read(self, row)

    monkeypatch.setattr(ImageSet, "read", noting)
    return done


def epoch(batches):
    parts = [batches[index] for index in range(len(batches))]
    batches.on_epoch_end()
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def test_batches_hold_every_row_once_and_shuffle_anew():
    images = image_set()
    rows = np.arange(24)
    batches = ImageBatches(images, rows, rows, (32, 32), 7, seed=3)
    orders = []
    for _ in range(2):
        pixels, targets = epoch(batches)
        orders.append(targets)
        np.testing.assert_array_equal(pixels, images.source[targets])
    assert sorted(orders[0]) == sorted(orders[1]) == list(rows)
    assert not np.array_equal(orders[0], orders[1])
    again = ImageBatches(images, rows, rows, (32, 32), 24, seed=3, epoch=1)
    np.testing.assert_array_equal(again[0][1], orders[1])


def test_each_image_is_decoded_once(photos, reads):
    images, pixels = photos
    batches = ImageBatches(images, ROWS, ROWS, (8, 8), 5, seed=1)
    assert reads == [], "nothing before the first batch"
    resized = np.stack([resize(image, (8, 8)) for image in pixels])
    for _ in range(3):
        found, rows = epoch(batches)
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found.astype(np.float32), resized[rows], rtol=0, atol=0.5)
        assert sorted(reads) == list(ROWS)


@pytest.mark.parametrize(("memory", "again"), [(0, 12), (5 * BYTES, 7), (6 * BYTES - 1, 7)])
def test_what_does_not_fit_is_decoded_in_each_epoch(photos, reads, memory, again):
    batches = ImageBatches(photos[0], ROWS, ROWS, (8, 8), 5, seed=1, memory=memory)
    first, order = epoch(batches)
    assert len(reads) == 12
    second, other = epoch(batches)
    assert len(reads) == 12 + again
    np.testing.assert_array_equal(first[np.argsort(order)], second[np.argsort(other)])


def test_images_of_one_size_are_exact(tmp_path, reads):
    pixels = noise([(7, 6)] * 12)
    images = set_of(tmp_path, [encoded(Image.fromarray(image)) for image in pixels])
    batches = ImageBatches(images, ROWS[2:], ROWS[2:], (8, 8), 4, seed=0)
    assert batches.input_size == (7, 6)
    for _ in range(2):
        found, rows = epoch(batches)
        np.testing.assert_array_equal(found, np.stack(pixels)[rows])
    assert sorted(reads) == list(ROWS[2:])


def test_an_array_is_not_kept_twice():
    images = image_set(size=16)
    assert ImageBatches(images, ROWS, ROWS, (32, 32), 4)._kept.nbytes == 0
    assert ImageBatches(images, ROWS, ROWS, (8, 8), 4)._kept.nbytes == 12 * BYTES


def test_threads_that_meet_see_whole_images(photos):
    images, pixels = photos
    resized = np.stack([resize(image, (8, 8)) for image in pixels])
    for seed in range(5):
        batches = ImageBatches(images, ROWS, ROWS, (8, 8), 12, seed)
        with ThreadPoolExecutor(8) as pool:
            for found, rows in pool.map(batches.__getitem__, [0] * 8):
                np.testing.assert_allclose(found, resized[rows], rtol=0, atol=0.5)


def test_common_size_is_native_only_where_nothing_shrinks(photos, reads):
    images = image_set(size=16)
    assert common_size(images, np.arange(36), (32, 32)) == (16, 16)
    assert common_size(images, np.arange(36), (8, 32)) is None
    large = ImageBatches(images, np.arange(4), np.arange(4), (8, 8), 4)
    assert large.input_size == (8, 8)
    assert large[0][0].shape == (4, 8, 8, 3)
    reads.clear()
    assert common_size(photos[0], ROWS, (64, 64)) is None, "of several sizes"
    assert common_size(photos[0], ROWS[3:4], (64, 64)) == (23, 30)
    assert reads == []

"""Pixels for fine-tuning: every row once an epoch, decoded once, in a size nothing shrinks to."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.transfer.finetuning.small_classifier import image_set
from tests.transfer.images.test_decoding import encoded
from tests.transfer.images.test_imageset import set_of
from transfer.finetuning.image_batches import DecodedImages, ImageBatches, common_size
from transfer.images.decoding import resize
from transfer.images.imageset import ImageSet

ROWS = np.arange(12)
BYTES = 8 * 8 * 3


def noise(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture
def photos(tmp_path):
    """12 files of several sizes, and their pixels resized."""
    pixels = noise((20 + row, 30) for row in range(12))
    images = set_of(tmp_path, [encoded(Image.fromarray(image)) for image in pixels])
    return images, np.stack([resize(image, (8, 8)) for image in pixels])


@pytest.fixture
def reads(monkeypatch):
    """Fills with the rows that are decoded."""
    done, read = [], ImageSet.read

    def noting(self, row, wanted=None):
        done.append(row)
        return read(self, row, wanted)

    monkeypatch.setattr(ImageSet, "read", noting)
    return done


def epoch(batches):
    """Pixels of an epoch, and the places in `rows` that they are of."""
    numbers = range(len(batches))
    places = np.concatenate([batches.chosen(index) for index in numbers])
    pixels = np.concatenate([batches[index] for index in numbers])
    batches.on_epoch_end()
    return pixels, places


def test_batches_hold_every_row_once_and_shuffle_anew():
    images, rows = image_set(), np.arange(35, 11, -1)
    batches = ImageBatches(DecodedImages(images, (32, 32)), rows, 7, seed=3)
    assert [len(batches[index]) for index in range(len(batches))] == [7, 7, 7, 3]
    orders = []
    for _ in range(2):
        pixels, places = epoch(batches)
        orders.append(places)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, images.source[rows[places]])
        np.testing.assert_array_equal(np.sort(places), np.arange(24))
    assert not np.array_equal(orders[0], orders[1])
    again = ImageBatches(DecodedImages(images, (32, 32)), rows, 24, seed=3, epoch=1)
    np.testing.assert_array_equal(again[0], images.source[rows[orders[1]]])


def test_each_image_is_decoded_once_whoever_asks(photos, reads):
    images, resized = photos
    decoded = DecodedImages(images, (8, 8))
    assert reads == [], "nothing before the first batch"
    for seed in range(3):
        batches = ImageBatches(decoded, ROWS, 5, seed)
        for _ in range(2):
            found, places = epoch(batches)
            assert found.dtype == np.uint8
            np.testing.assert_allclose(found.astype(np.float32), resized[places], rtol=0, atol=0.5)
            assert sorted(reads) == list(ROWS)


@pytest.mark.parametrize(("memory", "again"), [(0, 12), (5 * BYTES, 7), (6 * BYTES - 1, 7)])
def test_what_does_not_fit_is_decoded_in_each_epoch(photos, reads, memory, again):
    batches = ImageBatches(DecodedImages(photos[0], (8, 8), memory), ROWS, 5, seed=1)
    first, order = epoch(batches)
    assert len(reads) == 12
    second, other = epoch(batches)
    assert len(reads) == 12 + again
    np.testing.assert_array_equal(first[np.argsort(order)], second[np.argsort(other)])


def test_images_of_one_size_are_exact(tmp_path, reads):
    pixels = noise([(7, 6)] * 12)
    images = set_of(tmp_path, [encoded(Image.fromarray(image)) for image in pixels])
    decoded = DecodedImages(images, (8, 8))
    assert decoded.size == (7, 6)
    batches = ImageBatches(decoded, ROWS[2:], 4, seed=0)
    for _ in range(2):
        found, places = epoch(batches)
        np.testing.assert_array_equal(found, np.stack(pixels)[ROWS[2:][places]])
    assert sorted(reads) == list(ROWS[2:])


def test_the_model_resizes_as_decoding_would_have():
    images = image_set(size=16)
    (scaled, resizing) = DecodedImages(images, (32, 24)).preparing_layers()
    found = np.asarray(resizing(scaled(images.source[:4])))
    expected = np.stack([resize(image, (32, 24)) for image in images.source[:4]])
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert len(DecodedImages(images, (16, 16)).preparing_layers()) == 1
    assert len(DecodedImages(images, (8, 8)).preparing_layers()) == 1


def test_an_array_is_not_kept_twice():
    images = image_set(size=16)
    assert DecodedImages(images, (32, 32))._kept.nbytes == 0
    assert DecodedImages(images, (8, 8))._kept.nbytes == 36 * BYTES


def test_threads_that_meet_see_whole_images(photos):
    images, resized = photos
    for seed in range(5):
        batches = ImageBatches(DecodedImages(images, (8, 8)), ROWS, 12, seed)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(batches.__getitem__, [0] * 8):
                expected = resized[batches.chosen(0)]
                np.testing.assert_allclose(found.astype(np.float32), expected, rtol=0, atol=0.5)


def test_common_size_is_native_only_where_nothing_shrinks(photos, reads):
    images = image_set(size=16)
    assert common_size(images, np.arange(36), (32, 32)) == (16, 16)
    assert common_size(images, np.arange(36), (8, 32)) is None
    large = DecodedImages(images, (8, 8))
    assert large.size == (8, 8)
    assert large.read(0).shape == (8, 8, 3)
    reads.clear()
    assert common_size(photos[0], ROWS, (64, 64)) is None, "of several sizes"
    assert common_size(photos[0], ROWS[3:4], (64, 64)) == (23, 30)
    assert reads == []

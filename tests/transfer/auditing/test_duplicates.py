"""Hashes of pictures, and pairs of images that show the same."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from transfer.auditing.duplicates import clusters, find_twins, same_bytes
from transfer.auditing.neighbours import Neighbours
from transfer.auditing.perceptual_hash import POSITIONS, distances, hash_of


def picture(seed, size=(96, 72)):
    """Soft blobs, as photographs have them."""
    levels = np.random.default_rng(seed).integers(0, 255, (9, 9)).astype(np.uint8)
    return Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)


def recompressed(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("L")


CHANGES = {
    "": [lambda image: image, lambda image: image.resize((48, 36)), recompressed],
    "mirrored": [ImageOps.mirror],
    "upside down": [ImageOps.flip],
    "turned by 180 degrees": [lambda image: image.rotate(180)],
    "turned by 90 degrees": [
        lambda image: image.rotate(90, expand=True),
        lambda image: image.rotate(270, expand=True),
    ],
    "mirrored and turned": [
        lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    ],
}


@pytest.mark.parametrize("words", CHANGES)
def test_a_hash_knows_a_picture_in_all_positions(words):
    for change in CHANGES[words]:
        images = [picture(seed) for seed in range(20)]
        one = np.stack([hash_of(image) for image in images])
        other = np.stack([hash_of(change(image)) for image in images])
        bits, positions = distances(one, other)
        assert bits.max() <= 6
        assert {POSITIONS[position] for position in positions.tolist()} == {words}


def test_hashes_of_other_pictures_differ():
    hashes = np.stack([hash_of(picture(seed)) for seed in range(100)])
    bits, _ = distances(hashes[:50], hashes[50:])
    assert bits.min() > 10


def test_same_bytes_are_paired_and_unknown_ones_not():
    digests = np.zeros((6, 32), np.uint8)
    digests[[0, 2, 5]] = 7
    digests[3] = 8
    assert same_bytes(digests).tolist() == [[0, 2], [2, 5]]


def test_twins_are_near_in_features_and_alike_in_pixels():
    images = [
        picture(1),
        ImageOps.mirror(picture(1)),
        picture(2),
        picture(3),
        picture(3),
        picture(4),
    ]
    digests = np.arange(1, 7, dtype=np.uint8).repeat(32).reshape(6, 32)
    digests[4] = digests[3]
    near = Neighbours(
        np.array([[1], [0], [0], [4], [3], [0]]),
        np.array([[0.8], [0.8], [0.99], [1.0], [1.0], [0.9]], np.float32),
    )
    hashes = np.stack([hash_of(image) for image in images])
    seen = np.ones(6, bool)
    twins = find_twins(near, digests, hashes, seen)
    assert twins.pairs.tolist() == [[0, 1], [3, 4]]
    assert twins.how.tolist() == ["mirrored, looks like", "same bytes as"]
    assert twins.similarity.tolist() == pytest.approx([0.8, 1])
    seen[1] = False  # a blank picture has a hash of nothing
    assert find_twins(near, digests, hashes, seen).pairs.tolist() == [[3, 4]]
    far = Neighbours(near.rows, np.full((6, 1), 0.3, np.float32))
    assert find_twins(far, digests, hashes, np.ones(6, bool)).pairs.tolist() == [[3, 4]]


def test_pairs_lead_to_clusters():
    found = clusters(np.array([[1, 4], [4, 6], [0, 2]]), 8)
    assert [rows.tolist() for rows in found] == [[0, 2], [1, 4, 6]]
    assert clusters(np.zeros((0, 2), int), 3) == []

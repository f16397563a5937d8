"""Augmentation: of training images only, the same for the same seed, labels as the pixels."""

import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.places import PROJECT
from tests.transfer.finetuning.small_classifier import image_set
from transfer.errors import InputError
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers, mixing_layers

NO_CHANGE = AugmentOptions(flip=False, shift=0, crop=0, colour=0)
EVERYTHING = AugmentOptions(erase=1.0, random_augment=3, mixup=1.0, cutmix=1.0)


def pixels_of(rows=8):
    return image_set().source[:rows].astype("float32")


def coded(rows=16, size=16):
    """Images of one grey each, 10 times the row, and one-hot labels: what is mixed can be read."""
    images = np.ones((rows, size, size, 3), np.float32) * 10 * np.arange(rows)[:, None, None, None]
    return {"images": images, "labels": np.eye(rows, dtype=np.float32)}


def arrays(data):
    return {name: np.asarray(value) for name, value in data.items()}


def test_augmentation_changes_training_images_only():
    layers = augmentation_layers(EVERYTHING, seed=0)
    assert len(layers) == 6
    pixels = pixels_of()
    for layer in layers:
        np.testing.assert_allclose(np.asarray(layer(pixels, training=False)), pixels, atol=1e-3)
        moved = np.asarray(layer(pixels, training=True))
        assert np.abs(moved - pixels).max() > 1
        assert moved.min() >= -1e-3
        assert moved.max() <= 255.001
    assert augmentation_layers(NO_CHANGE, seed=0) == []
    assert mixing_layers(AugmentOptions(), seed=0) == []
    assert keras.backend.image_data_format() == "channels_last"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shift": 1.5}, "--shift expects a share from 0 up to 1, received 1.5"),
        ({"erase": 1.1}, "--erase expects a share from 0 to 1, received 1.1"),
        ({"random_augment": -1}, "--random-augment expects a number from 0 to 10, received -1"),
        ({"random_augment": 11}, "--random-augment .* received 11"),
        ({"mixup": 0.01}, "--mixup expects 0 or an alpha from 0.05 to 1, received 0.01"),
        ({"cutmix": -0.2}, "--cutmix expects 0 or an alpha from 0.05 to 1, received -0.2"),
        ({"cutmix": float("nan")}, "--cutmix .* received nan"),
    ],
)
def test_values_that_cannot_work_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        AugmentOptions(**options)


def test_a_seed_decides_and_no_two_layers_draw_alike():
    def augmented(seed):
        pixels = pixels_of()
        for layer in augmentation_layers(EVERYTHING, seed):
            pixels = layer(pixels, training=True)
        data = {"images": pixels, "labels": np.eye(8, dtype=np.float32)}
        for layer in mixing_layers(EVERYTHING, seed):
            data = layer(data, training=True)
        return np.asarray(data["images"]), np.asarray(data["labels"])

    one, same, other = augmented(3), augmented(3), augmented(4)
    for first, second, third in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(first, second)
        assert np.abs(first - third).max() > 1e-3
    layers = augmentation_layers(EVERYTHING, 3) + mixing_layers(EVERYTHING, 3)
    seeds = [layer.seed for layer in layers]
    assert len(set(seeds)) == len(layers) == 8


@pytest.mark.parametrize(("shift", "crop"), [(0.25, 0.0), (0.0, 0.5), (0.2, 0.3)])
def test_images_are_moved_and_enlarged_as_far_as_asked_for(shift, crop):
    """A slope of one grey level a pixel says where each pixel came from."""
    (layer,) = augmentation_layers(replace(NO_CHANGE, shift=shift, crop=crop), seed=0)
    height, width = 40, 60
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    images = np.stack([rows, columns, rows], axis=-1)[None].repeat(500, axis=0)
    moved = np.asarray(layer(images, training=True))
    # Within 10 pixels of the middle nothing is reflected.
    middle = moved[:, 10:30, 20:40]
    down, right = np.diff(middle[..., 0], axis=1), np.diff(middle[..., 1], axis=2)
    kept = down.mean(axis=(1, 2))
    np.testing.assert_allclose(down, np.broadcast_to(kept[:, None, None], down.shape), atol=1e-3)
    np.testing.assert_allclose(right, np.broadcast_to(kept[:, None, None], right.shape), atol=1e-3)
    for values, side, before in ((middle[..., 0], height, 19.5), (middle[..., 1], width, 29.5)):
        shifted = values.mean(axis=(1, 2)) - before
        assert np.abs(shifted).max() <= shift * side + 0.01
        assert np.abs(shifted).max() >= 0.97 * shift * side
        assert abs(shifted.mean()) <= 4 * shift * side / np.sqrt(3 * 500) + 1e-3
    assert kept.min() >= 1 - crop - 1e-3
    assert kept.max() <= 1 + 1e-3
    assert np.ptp(kept) >= 0.97 * crop


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_erasing_strikes_the_share_of_images_that_was_asked_for(share):
    (layer,) = augmentation_layers(replace(NO_CHANGE, erase=share), seed=0)
    images = np.full((400, 16, 16, 3), 77.5, np.float32)
    erased = (np.asarray(layer(images, training=True)) != 77.5).any(axis=3)
    # Of 400 the standard deviation is at most 0.022.
    assert erased.any(axis=(1, 2)).mean() == pytest.approx(share, abs=0.08)
    for mask in erased[erased.any(axis=(1, 2))][:20]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a rectangle"
        assert mask.mean() < 0.5


def test_random_operations_keep_an_image_recognisable():
    (layer,) = augmentation_layers(replace(NO_CHANGE, random_augment=1), seed=0)
    assert {"random_rotation", "random_posterization", "solarization"} <= set(layer._AUGMENT_LAYERS)
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32)[None, None, :, None], (8, 4, 256, 3))
    coarse = np.asarray(layer.random_posterization(ramp, training=True))
    assert all(len(np.unique(image)) >= 16 for image in coarse)
    inverted = np.asarray(layer.solarization(ramp, training=True)) != ramp
    assert inverted[..., 255, :].all()
    assert 0.2 < inverted.mean() < 0.8, "those above a threshold, which lies anywhere"
    assert layer.random_rotation.factor == pytest.approx((-1 / 12, 1 / 12))


def test_blended_labels_have_the_shares_of_the_pixels():
    (layer,) = mixing_layers(replace(NO_CHANGE, mixup=0.4), seed=1)
    before = coded()
    data = arrays(layer(dict(before), training=True))
    assert np.ptp(data["images"], axis=(1, 2, 3)).max() < 1e-3, "one grey each, still"
    np.testing.assert_allclose(data["labels"].sum(1), 1, atol=1e-6)
    assert (data["labels"] > 0).sum(1).max() == 2
    # The label says of which rows, and how much of each: their greys must give that grey.
    grey = data["labels"] @ (10 * np.arange(16))
    np.testing.assert_allclose(data["images"][:, 0, 0, 0], grey, atol=1e-3)
    assert ((data["labels"] > 0.02) & (data["labels"] < 0.98)).any(axis=1).sum() >= 4


def test_cut_labels_have_the_shares_of_the_pixels():
    (layer,) = mixing_layers(replace(NO_CHANGE, cutmix=1.0), seed=1)
    assert layer.factor == (1.0, 1.0), "one alpha, not a range from 0"
    size, mixed = 64, 0
    data = arrays(layer(coded(size=size), training=True))
    for row, (image, label) in enumerate(zip(data["images"][..., 0], data["labels"], strict=True)):
        counted = np.bincount(np.rint(image / 10).astype(int).ravel(), minlength=16) / size**2
        # Keras cuts at fractions of a pixel: each side may be off by one.
        np.testing.assert_allclose(label, counted, atol=2 / size)
        assert set(np.flatnonzero(counted)) <= {row, *np.flatnonzero(label)}
        mixed += counted.max() < 0.98
    assert mixed >= 4


def test_mixing_leaves_what_is_judged_alone():
    data, before = coded(), coded()
    for layer in mixing_layers(EVERYTHING, seed=0):
        data = layer(data, training=False)
    for name, value in arrays(data).items():
        np.testing.assert_array_equal(value, before[name])


TRAIN = """
import keras, numpy as np
from transfer.backend.keras_private import allow_jit
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers, mixing_layers

is_jax = keras.backend.backend() == "jax"
operations = 0 if is_jax else 2  # XLA takes a minute for the eleven
options = AugmentOptions(erase=1.0, random_augment=operations, mixup=1.0, cutmix=1.0)
images, labels = keras.Input((16, 16, 3)), keras.Input((4,))
x = images
changing, mixing = augmentation_layers(options, 0), mixing_layers(options, 0)
if is_jax:
    for layer in changing + mixing:
        allow_jit(layer)
for layer in changing:
    x = layer(x)
data = {"images": x, "labels": labels}
for layer in mixing:
    data = layer(data)

class Distance(keras.layers.Layer):
    def call(self, data):  # how far from the images and labels that went in
        moved = keras.ops.mean(keras.ops.abs(data["images"] - data["before"]))
        blurred = keras.ops.mean(1 - keras.ops.max(data["labels"], axis=1))
        self.add_loss(moved * self.weight)
        return {"moved": moved[None], "blurred": blurred[None]}
    def build(self, shape):
        self.weight = self.add_weight(shape=(), initializer="ones", name="weight")

model = keras.Model([images, labels], Distance()({**data, "before": images}))
model.compile(keras.optimizers.SGD(0.0))
rng = np.random.default_rng(0)
pixels = rng.integers(0, 255, (10, 16, 16, 3)).astype("float32")
wanted = np.eye(4, dtype="float32")[rng.integers(0, 4, 10)]
losses = model.fit([pixels, wanted], epochs=2, batch_size=4, verbose=0).history["loss"]
still = model.predict([pixels, wanted], batch_size=10, verbose=0)
print(keras.backend.backend(), *losses, still["moved"][0], still["blurred"][0])
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_everything_works_in_a_compiled_step(backend):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name, first, second, moved, blurred = done.stdout.split()
    assert name == backend
    assert float(first) > 5
    assert float(second) > 5
    assert first != second, "drawn anew in each epoch"
    assert float(moved) == pytest.approx(0, abs=1e-3)
    assert float(blurred) == pytest.approx(0, abs=1e-6)

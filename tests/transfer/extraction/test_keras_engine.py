"""Keras's engine: equal to Keras's own predict, and it leaves the weights alone."""

import keras
import numpy as np
import pytest

from transfer.backbones.body import feature_body
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone, resolve_cuts
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.extraction import keras_engine
from transfer.extraction.keras_engine import KerasEngine
from transfer.images.decoding import resize
from transfer.images.imageset import Batch

RNG = np.random.default_rng(0)
OPTIONS = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=64, cut=("top",))
IMAGES = RNG.integers(0, 256, (10, 20, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def backbone():
    model = build_backbone(OPTIONS)
    for layer in model.layers:  # statistics as training leaves them, not zeros and ones
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            draw = RNG.uniform(0.5, 1.5, (2, len(mean)))
            layer.set_weights([gamma, beta + 0.1, mean + draw[0] * 0.1, variance * draw[1]])
    return cut_backbone(model, resolve_cuts(model, OPTIONS))


def native_batches(size):
    for start in range(0, len(IMAGES), size):
        rows = np.arange(start, min(start + size, len(IMAGES)))
        yield Batch(rows, IMAGES[rows])


def resized_batches(size):
    for batch in native_batches(size):
        yield Batch(batch.rows, np.stack([resize(image, (64, 64)) for image in batch.images]))


def run(backbone, batches, batch_size=4):
    engine = KerasEngine(feature_body(backbone, OPTIONS), batch_size)
    return np.concatenate([features for _, (features,) in engine.run(batches)])


def test_features_equal_keras_on_separately_preprocessed_pixels(backbone):
    pixels = np.stack([resize(image, (64, 64)) for image in IMAGES])
    inputs = keras.applications.mobilenet_v2.preprocess_input(pixels.copy())
    maps = np.reshape(backbone.predict(inputs, verbose=0), (10, 2, 2, 1280))
    expected = maps.mean((1, 2))
    scale = np.abs(expected).max()
    for batches in (native_batches(4), resized_batches(4)):
        features = run(backbone, batches)
        assert np.abs(features - expected).max() <= 1e-5 * max(1, scale)


def test_images_of_many_sizes_leave_few_functions_behind(backbone, monkeypatch):
    monkeypatch.setattr(keras_engine, "MOST_FUNCTIONS", 2)
    engine = KerasEngine(feature_body(backbone, OPTIONS), 1)

    def features(height):
        ((_, (found,)),) = engine.run([Batch(np.arange(1), IMAGES[:1, :height])])
        return found

    first = features(20)
    for height in (19, 18):
        assert np.abs(features(height) - first).max() > 0
    assert len(engine._functions) == 2
    np.testing.assert_array_equal(features(20), first)


def test_batch_size_and_padding_do_not_matter(backbone):
    whole = run(backbone, native_batches(10), 10)
    for size in (1, 3, 8):
        np.testing.assert_allclose(run(backbone, native_batches(size), size), whole, atol=1e-5)


def test_weights_are_bit_identical_after_extraction(backbone):
    before = [weight.copy() for weight in backbone.get_weights()]
    run(backbone, native_batches(4))
    run(backbone, resized_batches(4))
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_resizing_layer_in_front_does_not_turn_batch_norm_on(backbone):
    # Seen on Keras 3.15.1: without training=False features were off by 95 %.
    body = feature_body(backbone, OPTIONS)
    pixels = np.stack([resize(image, (64, 64)) for image in IMAGES])
    predicted = np.squeeze(body.predict(pixels, verbose=0))
    called = np.squeeze(np.asarray(body(pixels)))
    assert predicted.shape == (10, 1280)
    np.testing.assert_allclose(called, predicted, atol=1e-5)


class Device:
    """Computes `pixels.mean() + channel` on few images at a time, and says what it was given."""

    def __init__(self, room, kept=0):
        self.room, self.kept, self.seen = room, kept, []

    def __call__(self, images):
        self.seen.append(len(images))
        if len(images) > self.room:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes")
        return [images.mean((1, 2, 3))[:, None] + np.arange(3, dtype=np.float32)]


def on_a_device(monkeypatch, device, batch_size):
    body = keras.Sequential([keras.Input((20, 24, 3)), keras.layers.Flatten()])
    monkeypatch.setattr("transfer.extraction.keras_engine.inference", lambda model, devices: device)
    return KerasEngine(body, batch_size)


@pytest.mark.parametrize("room", [7, 4, 2, 1])
def test_out_of_memory_halves_the_batch_and_loses_no_row(room, monkeypatch, capsys):
    device = Device(room)
    engine = on_a_device(monkeypatch, device, 8)
    found = [(batch.rows, features) for batch, (features,) in engine.run(native_batches(4))]
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), np.arange(10))
    expected = IMAGES.mean((1, 2, 3))[:, None] + np.arange(3)
    np.testing.assert_allclose(np.concatenate([features for _, features in found]), expected)
    said = capsys.readouterr().out.splitlines()
    sizes = [size for size in (4, 2, 1) if size >= room or size * 2 > room]
    assert said == [f"out of memory: going on with {size} images at a time" for size in sizes]
    assert device.seen[-1] == sizes[-1]


def test_a_batch_larger_than_the_device_takes_is_given_in_pieces(monkeypatch):
    device = Device(3)
    engine = on_a_device(monkeypatch, device, 3)
    ((_, (features,)),) = engine.run([Batch(np.arange(10), IMAGES)])
    assert device.seen == [3, 3, 3, 3]  # the last one is filled up: nothing is compiled twice
    np.testing.assert_allclose(features[:, 0], IMAGES.mean((1, 2, 3)))


def test_no_room_for_one_image_is_one_clear_line(monkeypatch):
    engine = on_a_device(monkeypatch, Device(0), 2)
    with pytest.raises(InputError, match="not even one image of 20 x 24 pixels") as refused:
        list(engine.run(native_batches(2)))
    assert "\n" not in str(refused.value)
    assert "--image-size" in str(refused.value)


def test_other_errors_are_not_taken_for_it(monkeypatch):
    def broken(images):
        raise RuntimeError("INVALID_ARGUMENT: shapes differ")

    engine = on_a_device(monkeypatch, broken, 8)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(engine.run(native_batches(4)))


def test_memory_that_runs_out_when_results_are_fetched(monkeypatch, capsys):
    class Late:
        """As asynchronous devices do it: the error comes with the result."""

        shape = (4, 3)

        def __array__(self, dtype=None, copy=None):
            raise MemoryError

    calls = []

    def device(images):
        calls.append(len(images))
        return [Late()] if len(images) > 2 else [images.mean((1, 2, 3))[:, None]]

    engine = on_a_device(monkeypatch, device, 4)
    found = np.concatenate([features for _, (features,) in engine.run(native_batches(4))])
    np.testing.assert_allclose(found[:, 0], IMAGES.mean((1, 2, 3)))
    assert "with 2 images" in capsys.readouterr().out


def test_the_next_batch_is_handed_over_before_this_one_is_waited_for(monkeypatch):
    device = Device(4)
    engine = on_a_device(monkeypatch, device, 4)
    results = engine.run(native_batches(4))
    next(results)
    assert device.seen == [4, 4]


def test_weights_that_have_changed_are_seen():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    engine, batch = KerasEngine(model, 4), Batch(np.arange(4), IMAGES[:4])
    ((_, (before,)),) = engine.run([batch])
    model.set_weights([2 * weight for weight in model.get_weights()])
    engine.weights_have_changed()
    ((_, (after,)),) = engine.run([batch])
    np.testing.assert_allclose(after, 2 * before, rtol=1e-4)

"""The engine: equal to Keras's own predict, and it leaves the weights alone."""

import keras
import numpy as np
import pytest

from transfer.backbones import BackboneOptions, build_backbone, cut_backbone, resolve_cuts
from transfer.classifier import feature_body
from transfer.engines import KerasEngine
from transfer.images import Batch, resize

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

"""Arithmetic in bfloat16 within a block, and as before behind it."""

import keras
import numpy as np
import pytest

from tests.transfer.finetuning.small_classifier import seeded_classifier
from transfer.backend.layers import leaf_layers
from transfer.backend.mixed import mixed_precision

PIXELS = np.random.default_rng(0).uniform(0, 1, (3, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def backbone():
    found = seeded_classifier().get_layer("body").get_layer("backbone")
    found.trainable = True
    return found


def seen(model):
    """Dtypes in which its layers compute, and hold weights; what it says of pixels."""
    layers = [layer for layer in leaf_layers(model) if layer.weights]
    computed = {type(layer).__name__: str(layer.compute_dtype) for layer in layers}
    held = {str(weight.dtype) for layer in layers for weight in layer.weights}
    x = PIXELS
    outputs = {}
    for layer in model.layers[1:]:
        x = layer(x, training=False) if "Norm" in layer.name else layer(x)
        outputs[layer.name] = keras.backend.standardize_dtype(x.dtype)
    return computed, held, outputs, np.asarray(keras.ops.cast(x, "float32"))


def test_layers_compute_in_bfloat16_and_hold_float32(backbone):
    before = seen(backbone)
    weights = backbone.get_weights()
    with mixed_precision(backbone, wanted=True):
        computed, held, outputs, said = seen(backbone)
    assert computed["Conv2D"] == "bfloat16" and held == {"float32"}
    assert {outputs[f"block_{block}_conv"] for block in range(1, 5)} == {"bfloat16"}
    difference = np.abs(said - before[3]).max() / np.abs(before[3]).max()
    assert 1e-5 < difference < 0.05, "coarser, and the same"
    after = seen(backbone)
    assert before[:3] == after[:3]
    np.testing.assert_array_equal(before[3], after[3])
    for one, two in zip(weights, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradients_are_of_float32_weights(backbone):
    import tensorflow as tf

    with mixed_precision(backbone, wanted=True), tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.ops.cast(backbone(PIXELS, training=False), "float32"))
    gradients = tape.gradient(loss, [each.value for each in backbone.trainable_variables])
    assert {gradient.dtype for gradient in gradients} == {tf.float32}


def test_an_error_within_the_block_leaves_all_as_it_was(backbone):
    before = [layer.dtype_policy.name for layer in leaf_layers(backbone)]
    with pytest.raises(ZeroDivisionError), mixed_precision(backbone, wanted=True):
        raise ZeroDivisionError
    assert [layer.dtype_policy.name for layer in leaf_layers(backbone)] == before


@pytest.mark.parametrize("wanted", [False, None])
def test_nothing_changes_where_it_is_not_wanted(backbone, wanted, monkeypatch):
    monkeypatch.setattr("transfer.backend.mixed.has_accelerator", lambda: False)
    before = seen(backbone)
    with mixed_precision(backbone, wanted):
        within = seen(backbone)
    assert before[:3] == within[:3]
    np.testing.assert_array_equal(before[3], within[3])


def test_an_accelerator_is_reason_enough(backbone, monkeypatch):
    monkeypatch.setattr("transfer.backend.mixed.has_accelerator", lambda: True)
    with mixed_precision(backbone):
        assert backbone.get_layer("block_1_conv").compute_dtype == "bfloat16"

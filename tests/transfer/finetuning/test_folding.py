"""Folded norms: the same function and gradients, by the same variables, in fewer steps."""

import keras
import numpy as np
import pytest

from transfer.backbones.building import build_backbone
from transfer.backbones.options import BackboneOptions
from transfer.finetuning.folding import FoldedNorm, fold_norms

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its gradients")

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.normal(size=(2, 32, 32, 3)).astype(np.float32)


def varied(model):
    """Statistics, scales and offsets as training leaves them."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.variables:
                variable.assign(GENERATOR.uniform(0.5, 1.5, variable.shape))
    return model


def own_network():
    """What no backbone has all of: a bias, dilation, strides, two readers, an activation."""
    inputs = keras.Input((32, 32, 3))
    layers = keras.layers
    x = layers.Conv2D(4, 3, 2, "valid", bias_initializer="ones")(inputs)
    one = layers.BatchNormalization(scale=False)(x)
    two = layers.BatchNormalization(center=False)(x)
    x = layers.Add()([one, two, x])
    x = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", depth_multiplier=2)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 1, activation="relu")(x)
    return keras.Model(inputs, layers.BatchNormalization()(x))


def mobile_network():
    return build_backbone(BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32))


def gradients(model):
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(PIXELS, training=False))
        loss = sum(tf.reduce_mean(tf.square(output)) for output in outputs)
    return outputs, tape.gradient(loss, model.trainable_variables)


def number_folded(model):
    return sum(isinstance(layer, FoldedNorm) for layer in model.layers)


@pytest.mark.parametrize(
    ("model", "folded"),
    [
        (own_network, 3),
        (mobile_network, 52),
    ],
)
def test_values_and_gradients_are_those_of_the_model(model, folded):
    keras.utils.set_random_seed(1)
    model = varied(model())
    quick = fold_norms(model)
    assert number_folded(quick) == folded
    assert {id(v) for v in quick.variables} == {id(v) for v in model.variables}
    expected, wanted = gradients(model)
    outputs, found = gradients(quick)
    for one, other in zip(expected, outputs, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())
    by_variable = dict(zip((v.path for v in quick.trainable_variables), found, strict=True))
    for variable, gradient in zip(model.trainable_variables, wanted, strict=True):
        gradient = gradient.numpy()
        np.testing.assert_allclose(
            by_variable[variable.path], gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max()
        )


def test_models_inside_are_folded_and_frozen_kernels_are_left():
    model = own_network()
    outer_input = keras.Input((32, 32, 3))
    outer = keras.Model(outer_input, keras.layers.ReLU()(model(outer_input, training=False)))
    (inner,) = [each for each in fold_norms(outer).layers if isinstance(each, keras.Model)]
    assert number_folded(inner) == 3
    model.trainable = False
    for layer in model.layers:
        layer.trainable = isinstance(layer, keras.layers.BatchNormalization)
    quick = fold_norms(model)
    assert number_folded(quick) == 0
    np.testing.assert_array_equal(quick(PIXELS, training=False), model(PIXELS, training=False))

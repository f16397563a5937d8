"""Layers of nested models."""

import keras

from transfer.backend.layers import leaf_layers


def test_leaves_of_nested_models_come_in_order():
    inner = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.ReLU(name="b")]
    )
    inputs = keras.Input((4,), name="inputs")
    model = keras.Model(inputs, keras.layers.Dense(2, name="c")(inner(inputs)))
    assert [layer.name for layer in leaf_layers(model) if layer.weights] == ["a", "c"]
    assert [layer.name for layer in leaf_layers(model)][-2:] == ["b", "c"]


def test_a_layer_that_is_no_model_is_its_own_leaf():
    layer = keras.layers.Dense(3)
    assert list(leaf_layers(layer)) == [layer]

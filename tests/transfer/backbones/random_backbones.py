"""Backbones with random weights, their features, and what is equal about them."""

import contextlib
import inspect

import keras
import numpy as np
from keras.src.backend.common import global_state

from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES

APPLICATIONS = {
    name: function
    for name, function in vars(keras.applications).items()
    if inspect.isfunction(function)
}


@contextlib.contextmanager
def shapes_only():
    """Models built inside have shapes and no memory: the giants take a second each."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Otherwise Keras would fill them in behind the next such scope.
        global_state.set_global_attribute("uninitialized_variables", [])


def random_options(name, **options):
    side = options.pop("image_size", BACKBONES[name].min_image_size)
    return BackboneOptions(backbone=name, weights="none", image_size=side, **options)


def random_images(side, count=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


def assert_same_weights(one, other):
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def features_of(model, images):
    """One eager pass: predict would first trace and compile the whole network."""
    outputs = model(images, training=False)
    as_list = [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]
    return as_list if isinstance(outputs, list) else as_list[0]


def assert_same_features(received, expected):
    """Equal to 1e-5 of the largest; random deep networks have very small outputs."""
    largest = np.abs(expected).max()
    assert largest > 0
    np.testing.assert_allclose(received / largest, expected / largest, atol=1e-5)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)

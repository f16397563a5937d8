"""Preprocessing against Keras's own functions and constants worked out by hand."""

import importlib

import keras
import numpy as np
import pytest

from transfer.backbones.preprocessing import PREPROCESSINGS, preprocess
from transfer.backbones.table import BACKBONES
from transfer.errors import InputError

FAMILIES = {row.family: row.preprocessing for row in BACKBONES.values()}

# Red, green, blue 0-255 of two pixels, and what each kind makes of them, worked out by hand.
PIXELS = [[0, 127.5, 255], [10, 20, 30]]
EXPECTED = {
    "none": PIXELS,
    "tf": [[-1, 0, 1], [-0.9215686, -0.8431373, -0.7647059]],
    "lite": [[-0.9921875, 0.00390625, 1], [-0.9140625, -0.8359375, -0.7578125]],
    "caffe": [[151.061, 10.721, -123.68], [-73.939, -96.779, -113.68]],
    "torch": [[-2.1179039, 0.1964286, 2.64], [-1.9466564, -1.6855742, -1.2815686]],
}


def preprocessing_model(kind):
    pixels = keras.Input((None, None, 3))
    return keras.Model(pixels, preprocess(pixels, kind))


@pytest.mark.parametrize("kind", PREPROCESSINGS)
def test_known_pixels_give_the_values_worked_out_by_hand(kind):
    pixels = np.array(PIXELS, np.float32).reshape(1, 1, 2, 3)
    values = preprocessing_model(kind).predict(pixels, verbose=0)
    np.testing.assert_allclose(values.reshape(2, 3), EXPECTED[kind], atol=1e-5)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"efficientnet_lite"}))
def test_random_pixels_give_what_the_familys_own_preprocess_input_gives(family):
    module = importlib.import_module(f"keras.applications.{family}")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 3)).astype(np.float32)
    values = preprocessing_model(FAMILIES[family]).predict(pixels, verbose=0)
    expected = module.preprocess_input(pixels.copy())
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PREPROCESSINGS)
def test_survives_saving_and_loading_in_safe_mode(kind, tmp_path):
    model = preprocessing_model(kind)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 3, 4, 3)).astype(np.float32)
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_array_equal(loaded.predict(pixels, verbose=0), expected)
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in loaded.layers)


def test_every_kind_of_the_table_is_known():
    assert set(FAMILIES.values()) == set(PREPROCESSINGS)


def test_unknown_kind_is_an_input_error():
    with pytest.raises(InputError, match=r"expected one of .*caffe.*, received 'vgg'"):
        preprocess(keras.Input((8, 8, 3)), "vgg")

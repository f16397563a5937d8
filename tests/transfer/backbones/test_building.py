"""Building: Keras's own networks, from a seed, under names that depend on nothing else."""

import random
import threading

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state
from keras.src.utils import file_utils

from tests.transfer.backbones.random_backbones import (
    APPLICATIONS,
    assert_same_features,
    assert_same_weights,
    features_of,
    one_line,
    random_images,
    random_options,
    shapes_only,
)
from transfer.backbones.building import build_backbone
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES
from transfer.errors import InputError


@pytest.mark.parametrize("name", ["MobileNetV2", "VGG16", "MobileNetV3Small", "ConvNeXtTiny"])
def test_features_equal_those_of_keras_own_model(name):
    model = build_backbone(random_options(name))
    side = BACKBONES[name].min_image_size
    keras_own = APPLICATIONS[name](include_top=False, weights=None, input_shape=(side, side, 3))
    keras_own.set_weights(model.get_weights())
    images = random_images(side) * 127
    assert_same_features(features_of(model, images), features_of(keras_own, images))


def test_random_weights_depend_on_the_seed_alone():
    first = build_backbone(random_options("MobileNetV3Small", weights_seed=3))
    keras.Sequential([keras.layers.Dense(4)]).build((None, 2))
    random.seed(99)
    np.random.seed(99)
    second = build_backbone(random_options("MobileNetV3Small", weights_seed=3))
    assert_same_weights(first, second)
    after = random.random(), np.random.random()
    random.seed(99)
    np.random.seed(99)
    assert after == (random.random(), np.random.random())
    other = build_backbone(random_options("MobileNetV3Small", weights_seed=4))
    kernels = [model.get_layer("conv").get_weights()[0] for model in (first, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_random_weights_do_not_depend_on_what_other_threads_draw():
    over = threading.Event()

    def draw():
        while not over.wait(1e-4):
            random.random()

    first = build_backbone(random_options("MobileNetV3Small"))
    other = threading.Thread(target=draw)
    other.start()
    try:
        second = build_backbone(random_options("MobileNetV3Small"))
    finally:
        over.set()
        other.join()
    assert_same_weights(first, second)


def test_automatic_layer_names_do_not_depend_on_what_was_built_before():
    def names():
        with shapes_only():
            model = build_backbone(random_options("InceptionV3"))
        return [layer.name for layer in model.layers]

    with shapes_only():
        APPLICATIONS["InceptionV3"](include_top=False, weights=None)
    keras.layers.Activation("relu")
    before = names()
    assert {"activation", "activation_93", "mixed7", "conv2d", "input_layer"} <= set(before)
    assert names() == before


def test_a_layer_made_later_takes_no_name_of_the_backbone():
    numbers = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", None)
    try:
        with shapes_only():
            model = build_backbone(random_options("InceptionV3"))
        later = {keras.layers.Activation("relu").name, keras.layers.Conv2D(1, 1).name}
    finally:
        global_state.set_global_attribute("object_name_uids", numbers)
    assert not later & {layer.name for layer in model.layers}


def test_the_callers_numbering_goes_on_where_it_was():
    keras.layers.Reshape((1,))
    number = int(keras.layers.Reshape((1,)).name.rpartition("_")[2])
    build_backbone(random_options("MobileNetV2"))
    assert keras.layers.Reshape((1,)).name == f"reshape_{number + 1}"


def test_a_backbone_survives_saving_in_safe_mode_under_a_plain_name(tmp_path):
    model = build_backbone(random_options("MobileNetV2", alpha=0.35))
    assert model.name == "MobileNetV2"
    model.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras", safe_mode=True)
    assert loaded.name == model.name
    images = random_images(32)
    assert_same_features(features_of(loaded, images), features_of(model, images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BackboneOptions("ResNet50", weights="none", alpha=0.5), "no width multiplier"),
        (BackboneOptions("MobileNetV2", weights="imagenet", alpha=0.33), "0.35.*alpha=0.33"),
        (BackboneOptions("MobileNetV3Small", weights="imagenet", alpha=0.5), "0.75"),
        (BackboneOptions("MobileNetV2", weights="missing.h5"), "missing.h5 is not a file"),
        (BackboneOptions("MobileNetV2", weights="Imagenet"), "expected imagenet, none or a file"),
    ],
)
def test_wrong_options_are_input_errors(options, message):
    with pytest.raises(InputError, match=message) as caught:
        build_backbone(options)
    one_line(caught)


def test_weights_that_cannot_be_downloaded_name_the_ways_on(monkeypatch):
    def fail(name, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -3] no\nname resolution")

    monkeypatch.setattr(file_utils, "get_file", fail)
    with pytest.raises(InputError, match="ImageNet weights of InceptionV3 cannot") as caught:
        build_backbone(BackboneOptions("InceptionV3", image_size=75))
    for way in ("WEIGHTS=file", "WEIGHTS=none", "make demo"):
        assert way in one_line(caught)

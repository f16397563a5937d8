"""Dividing a classifier: the suffix says, and learns, what the whole does."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.transfer.backbones.random_backbones import random_options
from tests.transfer.finetuning.small_classifier import (
    OPTIONS,
    image_set,
    labels_for,
    seeded_classifier,
    tuner_of,
)
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone
from transfer.classifier import build_classifier
from transfer.errors import InputError
from transfer.finetuning.image_batches import DecodedImages, ImageBatches
from transfer.finetuning.options import FinetuneOptions
from transfer.finetuning.prefix_batches import PrefixBatches
from transfer.finetuning.suffix import divide, suffix_model
from transfer.finetuning.tuning import LossModel, Tuner
from transfer.finetuning.unfreezing import unfreeze

CUTS = ("block_4_add", "block_12_add", "out_relu")
POOLED = {"avg": lambda x: x.mean((1, 2)), "max": lambda x: x.max((1, 2)), "none": lambda x: x}


def images_of(count):
    """Coarse patterns, which differ far more than noise does: rounding is not blown up."""
    coarse = np.random.default_rng(1).uniform(0, 255, (count, 4, 4, 3)).astype(np.float32)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def parts(model):
    body = model.get_layer("body")
    return body.get_layer("backbone"), body.get_layer("head")


def prefix_outputs(model, division, pixels, pooling):
    """The inputs of a suffix, made by the operations themselves."""
    backbone, _ = parts(model)
    tensors = {operation.name: operation.output for operation in backbone.operations}
    scaled = np.asarray(pixels, np.float32) * np.float32(1 / 127.5) - 1  # as MobileNetV2 takes them

    def output(name):
        return np.asarray(keras.Model(backbone.input, tensors[name])(scaled, training=False))

    kept = [output(division.place)] if division.late else []
    pool = POOLED[pooling]
    return kept + [pool(x) if x.ndim == 4 else x for x in map(output, division.early)]


@pytest.fixture(scope="module")
def real():
    """MobileNetV2 with random weights and a head on three cuts, by pooling."""
    options = random_options("MobileNetV2", alpha=0.35, cut=CUTS)
    keras.utils.set_random_seed(0)
    backbone = cut_backbone(build_backbone(options), CUTS)
    for layer in backbone.layers:
        layer.momentum = 0.0
    # Statistics of images: with those of the start nothing would reach the top.
    backbone(images_of(32) / 127.5 - 1, training=True)
    features = keras.Input((sum(output.shape[-1] for output in backbone.outputs),))
    outputs = keras.layers.Dense(3, activation="softmax", name="logits")(features)
    head = keras.Model(features, outputs, name="head")
    built = {}
    for pooling in ("avg", "max"):
        built[pooling] = build_classifier(backbone, head, replace(options, pooling=pooling))
    return built


def assert_divides(model, place, pooling, early, pixels):
    backbone, _ = parts(model)
    division = divide(backbone, place)
    assert division.early == early
    assert set(division.early) | set(division.late) == set(backbone.output_names)
    suffix = suffix_model(model, division, pooling)
    said = np.asarray(suffix(prefix_outputs(model, division, pixels, pooling), training=False))
    expected = np.asarray(model.get_layer("body")(np.asarray(pixels, np.float32), training=False))
    assert np.ptp(expected, axis=0).max() > 1e-3, "images differ"
    np.testing.assert_allclose(said, expected, rtol=0, atol=1e-6)
    ours = {id(weight) for weight in model.weights}
    assert all(id(weight) in ours for weight in suffix.weights), "the same weights, no copies"


@pytest.mark.parametrize("place", ["", "block_1_relu", "block_3_conv", "block_4_norm"])
def test_the_suffix_of_a_small_network_says_what_the_whole_does(place):
    model = seeded_classifier()
    backbone, _ = parts(model)
    early = () if place else tuple(backbone.output_names)
    pixels = images_of(5)
    assert_divides(model, place, OPTIONS.pooling, early, pixels)


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize(
    ("place", "early"),
    [
        ("", CUTS),
        ("block_2_add", ()),
        ("block_4_add", CUTS[:1]),
        ("block_6_depthwise_relu", CUTS[:1]),
        ("block_13_project_BN", CUTS[:2]),
        ("Conv_1_bn", CUTS[:2]),
    ],
)
def test_the_suffix_of_a_real_network_says_what_the_whole_does(real, pooling, place, early):
    pixels = images_of(3)
    assert_divides(real[pooling], place, pooling, early, pixels)


@pytest.mark.parametrize("place", ["block_2_depthwise", "block_4_project_BN", "block_11_expand"])
def test_a_place_that_paths_go_around_is_refused(real, place):
    with pytest.raises(InputError, match=f"received {place}") as caught:
        divide(parts(real["avg"])[0], place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", ["blocks:2", "head"])
def test_training_from_the_store_equals_training_from_pixels(tmp_path, which):
    images, rows = image_set(size=32), np.arange(24)
    options = FinetuneOptions(epochs=17, batch_size=8, label_smoothing=0.1, seed=4)
    ends, starts = [], []
    for source in ("pixels", "store"):
        model = seeded_classifier()
        if source == "pixels":
            decoded = DecodedImages(images, (32, 32))
            tuner = tuner_of(model, which, options, 50, decoded.preparing_layers())
            make, batches = ImageBatches, decoded
        else:
            unfrozen = unfreeze(model, which)
            division = divide(parts(model)[0], unfrozen.place)
            kept = prefix_outputs(model, division, images.source, OPTIONS.pooling)
            suffix = LossModel(suffix_model(model, division, OPTIONS.pooling))
            tuner = Tuner(suffix, *parts(model), unfrozen.depths, options, 50)
            make, batches = PrefixBatches, [output[:, None] for output in kept]

        def data(epoch, make=make, batches=batches):
            return labels_for(make(batches, rows, 8, 4, epoch), images, rows, options)

        trained = tuner.train(data, 3e-3, tmp_path / source)
        starts.append(tuner.start)
        ends.append({v.path: w for v, w in zip(tuner.variables, trained.weights, strict=True)})
        assert len(trained.history["loss"]) * 3 > 50
    assert ends[0].keys() == ends[1].keys()
    for one, two in zip(*(each.values() for each in ends), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=2e-5)
    moved = [np.abs(a - b).max() for a, b in zip(starts[0], ends[0].values(), strict=True)]
    assert max(moved) > 5e-3 and min(moved) > 1e-4, "they moved by far more than they differ"

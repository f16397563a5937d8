"""Views: known pixels, features of several views, and the classifier that averages them."""

import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from transfer.backbones.body import feature_body
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone, resolve_cuts
from transfer.backbones.options import BackboneOptions
from transfer.backbones.views import VIEWS, check_views, view_pixels
from transfer.classifier import (
    ClassifierCard,
    build_classifier,
    load_classifier,
    read_card,
    save_classifier,
)
from transfer.errors import InputError
from transfer.extraction.extraction import extract
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.options import HeadOptions
from transfer.images.imageset import ImageSet

SOME = ("top-right+flip", "identity", "flip", "center")
OPTIONS = BackboneOptions(
    "MobileNetV2", "none", alpha=0.35, image_size=48, cut=("block_2_add", "top")
)
# What the ten views keep of 48 rows by 36 columns: 42 rows, and 31.5 columns rounded to 32.
BOXES = {  # left, above, right, below
    "center": (2, 3, 34, 45),
    "top-left": (0, 0, 32, 42),
    "top-right": (4, 0, 36, 42),
    "bottom-left": (0, 6, 32, 48),
    "bottom-right": (4, 6, 36, 48),
}


def pictures(count=2, size=(48, 48), channels=3):
    """Noise: neither symmetric nor smooth."""
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels), dtype=np.uint8)


def seen(pixels, view):
    """The pixels of a view, by a Keras model."""
    inputs = keras.Input(pixels.shape[1:])
    model = keras.Model(inputs, view_pixels(inputs, view))
    assert model.output_shape == model.input_shape
    return np.asarray(model(pixels.astype("float32")))


def cropped(pixels, view):
    """The same by Pillow, channel by channel in 32-bit floats."""
    height, width = pixels.shape[1:3]
    box = BOXES[view.removesuffix("+flip")]
    result = np.empty(pixels.shape, "float32")
    for row, channel in np.ndindex(len(pixels), pixels.shape[-1]):
        image = Image.fromarray(pixels[row, ..., channel].astype("float32"))
        resized = image.crop(box).resize((width, height), Image.Resampling.BILINEAR)
        result[row, ..., channel] = np.asarray(resized)
    return result[:, :, ::-1] if view.endswith("+flip") else result


def cut(options):
    model = build_backbone(options)
    return cut_backbone(model, resolve_cuts(model, options))


def features_of(backbone, options, pixels):
    """One eager pass: predict would first trace and compile the network, once for each view."""
    outputs = feature_body(backbone, options)(pixels.astype("float32"), training=False)
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


@pytest.fixture(scope="module")
def backbone():
    return cut(OPTIONS)


@pytest.fixture(scope="module")
def head(backbone):
    """A head for one view, with statistics of the pictures."""
    joined = np.concatenate(features_of(backbone, OPTIONS, pictures(8)), -1)
    options = HeadOptions(hidden=(8,), batch_norm=True)
    return build_head(options, *feature_statistics(joined), joined.shape[1:], 3)


def test_identity_and_flip_move_whole_pixels():
    pixels = np.arange(2 * 2 * 3 * 3).reshape(2, 2, 3, 3)
    np.testing.assert_array_equal(seen(pixels, "identity"), pixels)
    flipped = seen(pixels, "flip")
    for column in range(3):
        np.testing.assert_array_equal(flipped[:, :, column], pixels[:, :, 2 - column])


@pytest.mark.parametrize("view", [view for view in VIEWS if view not in ("identity", "flip")])
def test_crops_are_those_of_pillow(view):
    pixels = pictures(size=(48, 36))
    np.testing.assert_allclose(seen(pixels, view), cropped(pixels, view), atol=1e-2)


def test_all_views_of_an_image_differ():
    pixels = pictures(1)
    views = [seen(pixels, view) for view in VIEWS]
    assert len(views) == 12
    for index, one in enumerate(views):
        assert all(np.abs(one - other).mean() > 5 for other in views[:index])


def test_an_odd_rest_is_cut_behind():
    columns = np.broadcast_to(np.arange(20.0), (1, 20, 20))[..., None]
    centre = seen(columns, "center")[0, 5, :, 0]  # 18 of 20 pixels, one lost on either side
    assert (centre[0], centre[-1]) == (1, 18)
    columns = np.broadcast_to(np.arange(12.0), (1, 12, 12))[..., None]
    centre = seen(columns, "center")[0, 5, :, 0]  # 10.5 rounds to the even 10
    assert (centre[0], centre[-1]) == (1, 10)


def test_names_are_split_at_commas_and_keep_their_order():
    assert check_views(VIEWS) == VIEWS
    assert check_views(("flip,identity", "center+flip")) == ("flip", "identity", "center+flip")
    assert BackboneOptions(views=("identity, flip",)).views == ("identity", "flip")
    assert BackboneOptions().views == ("identity",)


@pytest.mark.parametrize(
    ("views", "received"),
    [
        ((), "received none"),
        (("flop",), "'flop'"),
        (("identity,",), "''"),
        (("identity+flip",), r"'identity\+flip'"),
        (("flip", "identity,flip"), "once, received flip, identity, flip"),
    ],
)
def test_wrong_names_are_refused_in_one_line(views, received):
    for refuse in (check_views, lambda views: BackboneOptions(views=views)):
        with pytest.raises(InputError, match=received) as caught:
            refuse(views)
        assert "expected" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_view_of_pixels_is_refused():
    with pytest.raises(InputError, match="'upside-down'"):
        view_pixels(keras.Input((8, 8, 3)), "upside-down")


def test_names_import_no_keras():
    program = (
        "import sys, transfer.backbones.views; assert not {'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_one_view_has_the_shape_it_had(backbone):
    pixels = pictures()
    plain = features_of(backbone, OPTIONS, pixels)
    assert [feature.shape for feature in plain] == [(2, 8), (2, 1280)]
    for view, moved in {
        "flip": pixels[:, :, ::-1],
        "center": seen(pixels, "center"),
    }.items():
        got = features_of(backbone, replace(OPTIONS, views=(view,)), pixels)
        for one, wanted in zip(got, features_of(backbone, OPTIONS, moved), strict=True):
            assert one.shape == wanted.shape
            np.testing.assert_allclose(one, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("name", "pooling"),
    [("MobileNetV2", "none"), ("VGG16", "avg"), ("MobileNetV3Small", "max")],
    ids=["spatial", "caffe", "pixels unchanged"],
)
def test_each_of_several_views_is_that_view_alone(name, pooling):
    alpha = 0.35 if name == "MobileNetV2" else 1.0
    options = BackboneOptions(name, "none", 0, alpha, 32, ("top",), pooling, SOME)
    network, pixels = cut(options), pictures(size=(32, 32))
    (together,) = features_of(network, options, pixels)
    for index, view in enumerate(SOME):
        moved = seen(pixels, view)
        (alone,) = features_of(network, replace(options, views=("identity",)), moved)
        assert together.shape == (2, 4, *alone.shape[1:])
        scale = np.abs(alone).max()
        np.testing.assert_allclose(together[:, index], alone, rtol=1e-3, atol=1e-4 * scale)


def image_set(count=12):
    pixels = pictures(count, (20, 20))
    labels = np.arange(count) % 3
    for label in range(3):
        pixels[labels == label, :10, :10, label] = 255
    split = np.array(["train"] * (count // 2) + ["val"] * (count - count // 2))
    ids = np.array([f"{row:02d}" for row in range(count)], object)
    return ImageSet(ids, labels, ("r", "g", "b"), split, pixels, np.arange(count))


def test_the_classifier_averages_over_the_extracted_views(head, tmp_path):
    images = image_set(6)
    options = replace(OPTIONS, views=SOME)
    extracted = extract(images, options, batch_size=4)
    assert [array.shape for array in extracted.values()] == [(6, 4, 8), (6, 4, 1280)]
    joined = np.concatenate(list(extracted.values()), -1)
    by_view = np.stack([head.predict(joined[:, index], verbose=0) for index in range(4)])
    assert by_view.std(0).max() > 1e-3  # the views differ for this head

    # The random weights depend on nothing but their seed: a second backbone has the same.
    classifier = build_classifier(cut(options), head, options)
    path = tmp_path / "classifier.keras"
    cuts = tuple(extracted)
    card = ClassifierCard(("r", "g", "b"), "MobileNetV2", (48, 48), cuts, "avg", SOME)
    save_classifier(classifier, card, path)
    loaded, loaded_card = load_classifier(path)
    assert loaded_card == read_card(path) == card
    with zipfile.ZipFile(path) as archive:
        assert "Lambda" not in archive.read("config.json").decode()
    before = np.asarray(classifier(images.source))
    np.testing.assert_allclose(before, by_view.mean(0), atol=1e-4)
    np.testing.assert_allclose(np.asarray(loaded(images.source)), before, atol=1e-6)


def test_a_feature_body_keeps_its_views_when_loaded(backbone, tmp_path):
    body = feature_body(backbone, replace(OPTIONS, views=SOME))
    body.save(tmp_path / "body.keras")
    loaded = keras.models.load_model(tmp_path / "body.keras", safe_mode=True)
    pixels = pictures().astype("float32")
    for one, other in zip(body(pixels), loaded(pixels), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_card_without_views_is_of_an_older_file():
    assert ClassifierCard(("a",), "MobileNetV2", (48, 48), ("top",), "avg").views == ("identity",)

"""Weights: every one of a local file comes back, or the file is refused; and their digests."""

import hashlib
import re

import h5py
import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from tests.places import SHARED
from tests.transfer.backbones.random_backbones import (
    assert_same_features,
    assert_same_weights,
    features_of,
    one_line,
    random_images,
    random_options,
)
from transfer.backbones.building import build_backbone
from transfer.backbones.efficientnet_lite import packaged_weights
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES
from transfer.backbones.weights import weights_digest
from transfer.errors import InputError


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


REAL_WEIGHTS = SHARED / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"


def random_model(name, alpha=1.0, seed=0):
    side = BACKBONES[name].min_image_size
    return build_backbone(BackboneOptions(name, "none", seed, alpha, side))


def publish(model, path):
    """Writes the legacy layout that Keras publishes: layer groups at the root, in order."""
    whole = path.with_name(f"whole-{path.name}")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        for name, group in source["model_weights"].items():
            source.copy(group, target, name)
        for name, value in source["model_weights"].attrs.items():
            target.attrs[name] = value
    whole.unlink()


@pytest.mark.skipif(not REAL_WEIGHTS.is_file(), reason="../shared/data is missing")
def test_real_imagenet_weights_from_a_published_file():
    options = BackboneOptions(weights=str(REAL_WEIGHTS), alpha=0.35, image_size=96)
    model = build_backbone(options)
    keras_own = keras.applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=str(REAL_WEIGHTS), input_shape=(96, 96, 3)
    )
    assert_same_weights(model, keras_own)
    with h5py.File(REAL_WEIGHTS) as file:
        kernel = file["Conv1"][file["Conv1"].attrs["weight_names"][0]][:]
    np.testing.assert_array_equal(model.get_layer("Conv1").get_weights()[0], kernel)
    for wrong in (
        BackboneOptions(weights=str(REAL_WEIGHTS), alpha=0.5, image_size=96),
        BackboneOptions("MobileNet", weights=str(REAL_WEIGHTS), alpha=0.5, image_size=96),
        BackboneOptions("EfficientNetLite0", weights=str(REAL_WEIGHTS), image_size=96),
    ):
        with pytest.raises(InputError, match="does not hold the weights of") as caught:
            build_backbone(wrong)
        one_line(caught)


def write_weights(model, path):
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.suffix == ".keras":
        model.save(path)
    else:
        publish(model, path)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("InceptionV3", ".h5"),
        ("EfficientNetLite0", ".weights.h5"),
        ("EfficientNetLite0", ".keras"),
        ("ConvNeXtTiny", ".weights.h5"),
    ],
)
def test_every_kind_of_file_gives_back_every_weight(name, suffix, tmp_path):
    saved = random_model(name, seed=5)
    path = tmp_path / f"weights{suffix}"
    write_weights(saved, path)
    side = BACKBONES[name].min_image_size
    loaded = build_backbone(BackboneOptions(name, weights=str(path), image_size=side))
    assert_same_weights(saved, loaded)


def test_a_model_with_top_or_nested_in_another_serves_by_layer_name(tmp_path):
    whole = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(32, 32, 3))
    whole.save(tmp_path / "top.keras")
    inputs = keras.Input((32, 32, 3))
    nested = keras.applications.MobileNetV2(
        include_top=False, weights=None, alpha=0.35, input_shape=(32, 32, 3)
    )
    nested.set_weights(whole.get_weights()[:-2])
    # The head's layer carries the name of one of the backbone's, as a head may.
    outputs = keras.layers.BatchNormalization(name="bn_Conv1")(nested(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "nested.keras")
    for name in ("top.keras", "nested.keras"):
        options = BackboneOptions(weights=str(tmp_path / name), alpha=0.35, image_size=32)
        assert_same_weights(build_backbone(options), nested)


@pytest.fixture(scope="module")
def mobilenet():
    return random_model("MobileNetV2", alpha=0.35)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_a_file_of_another_network_is_refused(suffix, mobilenet, tmp_path):
    path = tmp_path / f"weights{suffix}"
    write_weights(mobilenet, path)
    for backbone, alpha in (("MobileNetV2", 0.5), ("VGG16", 1.0)):
        options = BackboneOptions(backbone, weights=str(path), alpha=alpha, image_size=32)
        with pytest.raises(InputError, match=f"does not hold the weights of {backbone}") as caught:
            build_backbone(options)
        one_line(caught)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_a_file_with_the_top_is_refused_where_layers_go_by_order(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    whole = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(32, 32, 3))
    write_weights(whole, path)
    with pytest.raises(InputError, match="without top"):
        build_backbone(BackboneOptions(weights=str(path), alpha=0.35, image_size=32))


@pytest.mark.parametrize(
    ("backbone", "suffix"),
    [
        ("MobileNetV2", ".h5"),
        ("MobileNetV2", ".weights.h5"),
        ("MobileNetV2", ".keras"),
        ("MobileNetV2", ".pth"),
        ("MobileNetV2", ".bin"),
        ("EfficientNetLite0", ".pth"),
    ],
)
def test_a_file_of_rubbish_is_an_input_error(backbone, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"rubbish" * 100)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        build_backbone(BackboneOptions(backbone, weights=str(path), image_size=32))
    one_line(caught)


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"abc")
    # Source: FIPS 180-2, appendix B.1.
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_digest(BackboneOptions(weights=str(tmp_path / "a.h5"))) == expected
    with pytest.raises(InputError, match="is not a file"):
        weights_digest(BackboneOptions(weights=str(tmp_path / "b.h5")))

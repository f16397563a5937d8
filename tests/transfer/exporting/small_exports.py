"""What tests of exported models share: a card, pictures, and a classifier with traps in it."""

from dataclasses import replace

import keras
import numpy as np

from tests.transfer.finetuning.small_classifier import noise
from transfer.backbones.options import BackboneOptions
from transfer.classifier import ClassifierCard, build_classifier, save_classifier
from transfer.heads.building import build_head
from transfer.heads.options import HeadOptions

CARD = ClassifierCard(("cat", "dog", "fish"), "MobileNetV2", (8, 6), ("top",), "avg")
OTHERS = ("savedmodel", "litert", "onnx", "openvino")
"""Formats that are not Keras's own."""
VIEWS = ("identity", "flip", "top-left+flip")
SIZE = (32, 32)


def images(sizes=((5, 9), (8, 6), (40, 31)), count=3):
    """Batches of smooth pictures, a batch a size."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (len(sizes), count, 4, 4, 3), dtype=np.uint8)
    return [
        batch[:, np.arange(height) * 4 // height][:, :, np.arange(width) * 4 // width]
        for batch, (height, width) in zip(small, sizes, strict=True)
    ]


def image_set(rows=40):
    """Reddish and bluish noise: some rows for training, some for validation, some for tests."""
    return noise(np.resize(["train", "train", "train", "val", "test"], rows), (20, 15))


def saved_classifier(path, output="sigmoid"):
    """A classifier with batch norm, a spatial cut, several views, a Normalization and a sigmoid.

    Its moving averages are none that a batch of test images has, and its weights tell red from
    blue.
    """
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pixels = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", name="convolution")(pixels)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    backbone = keras.Model(pixels, [x], name="backbone")
    norm = backbone.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.weights])
    features = (SIZE[0] // 4, SIZE[1] // 4, 8)
    mean, variance = rng.uniform(0, 1, 8), rng.uniform(0.5, 2, 8)
    head = build_head(HeadOptions(output=output), mean, variance, features, 2)
    options = BackboneOptions(
        "MobileNetV2", "none", image_size=SIZE[0], pooling="none", views=VIEWS
    )
    model = build_classifier(backbone, head, options)
    names = ("red", "blue")
    card = replace(CARD, class_names=names, image_size=SIZE, pooling="none", views=VIEWS)
    save_classifier(model, card, path)
    return path

"""A classifier that trains in a second, and images that it can learn."""

from dataclasses import replace

import keras
import numpy as np

from transfer.backbones.options import BackboneOptions
from transfer.backend.layers import leaf_layers
from transfer.classifier import build_classifier
from transfer.heads.building import build_head
from transfer.heads.options import HeadOptions
from transfer.images.imageset import ImageSet

OPTIONS = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)


def image_set(num_train=24, num_val=12, size=16):
    """Reddish and bluish noise."""
    rng = np.random.default_rng(0)
    rows = num_train + num_val
    labels = np.arange(rows) % 2
    pixels = rng.integers(0, 120, (rows, size, size, 3), dtype=np.uint8)
    pixels[labels == 0, ..., 0] += 100
    pixels[labels == 1, ..., 2] += 100
    return ImageSet(
        ids=np.array([f"{row:03d}" for row in range(rows)], object),
        labels=labels,
        class_names=("red", "blue"),
        split=np.array(["train"] * num_train + ["val"] * num_val),
        source=pixels,
        members=np.arange(rows),
    )


def classifier(batch_norm=True, views=("identity",)):
    """Four convolutions with batch norm, as a backbone that trains in a second."""
    pixels = x = keras.Input((32, 32, 3))
    for block in range(1, 5):
        convolution = keras.layers.Conv2D(
            8 * block, 3, strides=2, padding="same", name=f"block_{block}_conv"
        )
        x = keras.layers.BatchNormalization(name=f"block_{block}_norm")(convolution(x))
        x = keras.layers.ReLU(name=f"block_{block}_relu")(x)
    backbone = keras.Model(pixels, [x], name="backbone")
    head = build_head(
        HeadOptions(hidden=(8,), batch_norm=batch_norm), np.zeros(32), np.ones(32), (32,), 2
    )
    return build_classifier(backbone, head, replace(OPTIONS, views=views))


def batch_norms(model):
    return [layer for layer in leaf_layers(model) if "BatchNormalization" in type(layer).__name__]

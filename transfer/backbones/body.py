"""Pixels to features: preprocessing, views, backbone, pooling."""

import itertools
from typing import TYPE_CHECKING

from transfer.backbones.cuts import pool, pooling_of
from transfer.backbones.options import BackboneOptions
from transfer.backbones.preprocessing import preprocess
from transfer.backbones.table import find_backbone
from transfer.backbones.views import view_pixels

if TYPE_CHECKING:
    import keras


def feature_body(backbone: "keras.Model", options: BackboneOptions) -> "keras.Model":
    """Pixels to features: preprocessing, views, backbone, pooling.

    Args:
        backbone: A cut backbone, one output per cut, named as its layers are.
        options: What it was built from.

    Returns:
        Model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to a list of features, one
        float32 tensor per cut: `(batch, ...)`, or with several views `(batch, views, ...)`, in
        the options' order.
    """
    import keras

    pixels = keras.Input((*options.resolved_image_size(), 3), name="pixels")
    by_view = features_by_view(pixels, backbone, options)
    features = by_view[0]
    if len(by_view) > 1:
        features = [keras.ops.stack(of_cut, axis=1) for of_cut in zip(*by_view, strict=True)]
    # A cut that no pooling follows is as its layer computes, maybe in bfloat16.
    features = [
        feature if feature.dtype == "float32" else keras.ops.cast(feature, "float32")
        for feature in features
    ]
    return keras.Model(pixels, features, name="feature_body")


def features_by_view(
    pixels: "keras.KerasTensor", backbone: "keras.Model", options: BackboneOptions
) -> list[list["keras.KerasTensor"]]:
    """Features of each view, as tensors.

    Args:
        pixels: `(batch, H, W, 3)` float32, 0-255 RGB.
        backbone: A cut backbone.
        options: What it was built from.

    Returns:
        Per view, in the options' order, one tensor per cut.
    """
    # Once, in front of the views: it treats every pixel alike, so the order changes nothing.
    preprocessed = preprocess(pixels, find_backbone(options.backbone).preprocessing)
    numbers = itertools.count()  # over all views, for no two layers may share a name
    by_view = []
    for view in options.views:
        # DESIGN: without training=False, BatchNorm behind another layer runs in training mode.
        outputs = backbone(view_pixels(preprocessed, view), training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        by_view.append(
            [
                pool(output, pooling_of(layer, options), f"{options.pooling}_pool_{next(numbers)}")
                for layer, output in zip(backbone.output_names, outputs, strict=True)
            ]
        )
    return by_view

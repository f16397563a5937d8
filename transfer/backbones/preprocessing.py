"""Raw pixels to the numbers each family of backbones was trained on."""

from typing import TYPE_CHECKING

from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

VERSION = 1
"""Part of the cache key: goes up whenever a kind below changes a value."""

_IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
"""Means of ImageNet pixels, 0-255. Source: Simonyan & Zisserman, arXiv 1409.1556 (Caffe VGG)."""
_IMAGENET_MEANS_RGB = (0.485, 0.456, 0.406)
"""Means of ImageNet pixels, 0-1. Source: torchvision, as in keras.applications.imagenet_utils."""
_IMAGENET_DEVIATIONS_RGB = (0.229, 0.224, 0.225)
"""Standard deviations of ImageNet pixels, 0-1. Source: as the means."""

PREPROCESSINGS: dict[str, str] = {
    "tf": "x / 127.5 - 1, in [-1, 1]",
    "caffe": "RGB to BGR, then minus the ImageNet means; 0-255 scale",
    "torch": "x / 255, then minus the ImageNet mean and divided by the deviation, per channel",
    "lite": "(x - 127) / 128",
    "none": "unchanged, 0-255: the model rescales itself",
}
"""Kinds of preprocessing, and what each does to pixels `x` in 0-255 RGB."""


def preprocess(x: "keras.KerasTensor", kind: str) -> "keras.KerasTensor":
    """Adds a family's preprocessing to a functional model.

    Built from stock Keras layers and operations, so that a saved model loads in safe mode.

    Args:
        x: `(batch, height, width, 3)` float32 pixels, 0-255 RGB.
        kind: One of `PREPROCESSINGS`, kept in the backbone's row.

    Returns:
        The same shape, in the range the kind's description says.

    Raises:
        InputError: If the kind is unknown.
    """
    import keras

    scale: float | list[float]
    offset: float | list[float]
    if kind == "none":
        return x
    if kind == "tf":
        scale, offset = 1 / 127.5, -1.0
    elif kind == "lite":
        scale, offset = 1 / 128, -127 / 128
    elif kind == "caffe":
        x = keras.ops.flip(x, axis=-1)
        scale, offset = 1.0, [-mean for mean in _IMAGENET_MEANS_BGR]
    elif kind == "torch":
        statistics = zip(_IMAGENET_MEANS_RGB, _IMAGENET_DEVIATIONS_RGB, strict=True)
        scale = [1 / (255 * deviation) for deviation in _IMAGENET_DEVIATIONS_RGB]
        offset = [-mean / deviation for mean, deviation in statistics]
    else:
        raise InputError(
            f"preprocessing: expected one of {list(PREPROCESSINGS)}, received {kind!r}"
        )
    return keras.layers.Rescaling(scale, offset, name="preprocessing")(x)

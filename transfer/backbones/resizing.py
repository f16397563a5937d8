"""Resizing inside a Keras graph, the twin of `transfer.images.decoding.resize`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

INTERPOLATION = "bilinear-antialias"
"""How images come to the backbone's size; part of the cache key."""


def resize_pixels(inputs: "keras.KerasTensor", image_size: tuple[int, int]) -> "keras.KerasTensor":
    """Resizes raw pixels to what a backbone takes.

    Args:
        inputs: `(batch, height, width, 3)` uint8 or float32, 0-255 RGB, any size.
        image_size: `(height, width)` in pixels.

    Returns:
        `(batch, *image_size, 3)` float32, 0-255, not rounded.
    """
    import keras

    # Resizing rounds integers back to integers when it is called outside a compiled graph.
    # A dtype policy that somebody else has set must not reach the pixels.
    pixels = keras.layers.Rescaling(1.0, name="to_float", dtype="float32")(inputs)
    if tuple(inputs.shape[1:3]) == tuple(image_size):
        return pixels
    resizing = keras.layers.Resizing(*image_size, antialias=True, name="resizing", dtype="float32")
    return resizing(pixels)

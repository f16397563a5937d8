"""Stand-ins for layers of Keras that other runtimes have no operations for.

They live in exported graphs alone, never in a `.keras` file.
"""

from typing import Any

import keras
import numpy as np
from keras import ops


class MatmulResizing(keras.layers.Layer):
    """`keras.layers.Resizing(antialias=True)`, bilinear, as two products with matrices.

    Weights are triangles, as wide as the image shrinks. Source: Pillow's BILINEAR filter and
    TensorFlow's `ScaleAndTranslate`, with which it agrees to rounding. TensorFlow's operation is
    known to no other runtime; products of matrices to all, also where sizes are known only when
    an image comes.

    Args:
        height: In pixels, of what it gives.
        width: In pixels, of what it gives.
        name: Of the layer.
    """

    def __init__(self, height: int, width: int, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self._size = height, width

    def call(self, pixels: Any) -> Any:
        """From `(batch, any, any, 3)` in any dtype to `(batch, height, width, 3)` float32."""
        batch, height, width, channels = ops.shape(pixels)
        down, across = self._size
        pixels = ops.reshape(ops.cast(pixels, "float32"), (batch, height, width * channels))
        pixels = ops.matmul(_weights(height, down)[None], pixels)  # rows first: no axis moves
        pixels = ops.reshape(pixels, (batch, down, width, channels))
        pixels = ops.reshape(ops.transpose(pixels, (0, 2, 1, 3)), (batch, width, down * channels))
        pixels = ops.matmul(_weights(width, across)[None], pixels)
        pixels = ops.reshape(pixels, (batch, across, down, channels))
        return ops.transpose(pixels, (0, 2, 1, 3))

    def compute_output_shape(self, shape: tuple) -> tuple:
        """The batch's size, then height, width and channels."""
        return (shape[0], *self._size, shape[-1])


def _weights(length: Any, wanted: int) -> Any:
    """`(wanted, length)` float32: what each pixel of one axis gives to each of the new ones."""
    scale = ops.cast(length, "float32") / wanted
    centres = (ops.arange(wanted, dtype="float32") + 0.5) * scale
    places = ops.cast(ops.arange(length), "float32") + 0.5
    distances = ops.abs(places[None] - centres[:, None]) / ops.maximum(scale, 1.0)
    weights = ops.maximum(0.0, 1.0 - distances)
    return weights / ops.sum(weights, axis=1, keepdims=True)


class FixedNormalization(keras.layers.Layer):
    """`keras.layers.Normalization` with its statistics inside the graph.

    Keras holds them outside of it, from where converters make further inputs of them.
    """

    def __init__(self, like: keras.layers.Normalization) -> None:
        super().__init__(name=like.name, dtype=like.dtype_policy)
        self._mean = ops.convert_to_numpy(like.mean)
        deviation = np.sqrt(ops.convert_to_numpy(like.variance))
        self._deviation = np.maximum(deviation, np.float32(keras.config.epsilon()))

    def call(self, x: Any) -> Any:
        """As the layer that it is like."""
        return (x - self._mean) / self._deviation

    def compute_output_shape(self, shape: tuple) -> tuple:
        """The same."""
        return shape

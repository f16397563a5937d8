"""What one image costs a network: multiply-adds, counted from its layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transfer.backend.layers import leaf_layers

if TYPE_CHECKING:
    import keras

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
"""Weights of which each takes part once at every place of a layer's output."""


def multiply_adds(model: keras.Model) -> int:
    """Multiplications followed by an addition, of one image: convolutions and dense layers.

    All else (norms, activations, pooling, resizing) is left out, as published counts do. Twice as
    many are called floating point operations by some.

    Args:
        model: Built, with image sizes known.
    """
    return sum(map(_of_layer, leaf_layers(model)))


def _of_layer(layer: keras.layers.Layer) -> int:
    kernels = [getattr(layer, name, None) for name in KERNELS]
    weights = sum(math.prod(kernel.shape) for kernel in kernels if kernel is not None)
    if not weights:
        return 0
    places = math.prod(layer.output.shape[1:-1])  # 1 of a dense layer on vectors
    return weights * places

"""Arithmetic in bfloat16 where an accelerator is quick at it, for weights that stay float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from transfer.backend.devices import has_accelerator
from transfer.backend.layers import leaf_layers

QUICK = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.ZeroPadding2D,
    keras.layers.BatchNormalization,
)
"""Layers that compute in bfloat16; norms only give it, they compute in float32 all the same."""


@contextmanager
def mixed_precision(model: keras.Model, wanted: bool | None = None) -> Iterator[None]:
    """Has the layers of a backbone compute in bfloat16 within the block.

    Source of what stays in float32 (weights, norms, softmax): Micikevicius et al., "Mixed Precision
    Training", 2018.

    Args:
        model: A backbone; nothing may have been compiled of it yet within the block.
        wanted: By default where there is an accelerator.
    """
    if wanted is None:
        wanted = has_accelerator()
    layers = [layer for layer in leaf_layers(model) if isinstance(layer, QUICK)] if wanted else []
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = "mixed_bfloat16"
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy

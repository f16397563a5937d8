"""A chosen linear head as a Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from transfer.backend.startup import check_settings
from transfer.choosing.choice import LinearHead
from transfer.heads.transforms import transform_layers

if TYPE_CHECKING:
    import keras

SMALLEST_DEVIATION = 1e-6
"""Standard deviation that is left to Keras to divide by."""


def build_linear_head(head: LinearHead, feature_shape: Sequence[int]) -> keras.Model:
    """Builds what `transfer.heads.building.build_head` builds without hidden layers.

    Args:
        head: What was chosen.
        feature_shape: Of one sample of the head's cuts, `(num_features,)` or `(h, w, channels)`.

    Returns:
        Model named `head`, `(batch, *feature_shape)` float32 to `(batch, classes)` probabilities.
    """
    import keras

    check_settings()
    inputs = keras.Input(tuple(feature_shape), name="features")
    variance, kernel = _divided_by_keras(head)
    normalize = keras.layers.Normalization(mean=head.mean, variance=variance, name="normalization")
    x = normalize(transform_layers(inputs, head.transform))
    if len(feature_shape) > 1:
        x = keras.layers.Flatten(name="flatten")(x)
    logits = keras.layers.Dense(head.kernel.shape[1], name="logits")
    outputs = keras.layers.Activation("softmax", dtype="float32", name="probabilities")(logits(x))
    logits.set_weights([kernel, head.bias])
    return keras.Model(inputs, outputs, name="head")


def _divided_by_keras(head: LinearHead) -> tuple[np.ndarray, np.ndarray]:
    """Variance and kernel with which Keras's Normalization, which divides by 1e-7 at least, agrees.

    Features of random weights vary by less; their kernels are divided instead.
    """
    deviation = np.sqrt(head.variance)
    is_small = deviation < SMALLEST_DEVIATION
    divisor = np.where(is_small, deviation, np.float32(1))[:, None]
    kernel = head.kernel.reshape(-1, len(divisor), head.kernel.shape[1]) / divisor
    return np.where(is_small, np.float32(1), head.variance), kernel.reshape(head.kernel.shape)

"""A chosen linear head as a Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transfer.backend.startup import check_settings
from transfer.choosing.choice import LinearHead
from transfer.heads.transforms import transform_layers

if TYPE_CHECKING:
    import keras


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
    normalize = keras.layers.Normalization(
        mean=head.mean, variance=head.variance, name="normalization"
    )
    x = normalize(transform_layers(inputs, head.transform))
    if len(feature_shape) > 1:
        x = keras.layers.Flatten(name="flatten")(x)
    logits = keras.layers.Dense(head.kernel.shape[1], name="logits")
    outputs = keras.layers.Activation("softmax", dtype="float32", name="probabilities")(logits(x))
    logits.set_weights([head.kernel, head.bias])
    return keras.Model(inputs, outputs, name="head")

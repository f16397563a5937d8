"""What is done to each feature before it is standardised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import keras

Transform = Literal["none", "root"]
SOFTNESS = 1e-3
"""Beside which a feature is small. The slope of a plain root is infinite at 0, where many features
of a network with ReLUs lie, and training end to end would be lost. Measured on six folders of
photographs: the same cross-validated loss as without, to four digits."""


def transformed(features: np.ndarray, transform: Transform) -> np.ndarray:
    """A float32 copy of features, of the size of their roots, with their signs, if so asked.

    The root tames what is large: averages of ReLUs are skewed. Source: Perronnin, Sanchez and
    Mensink, "Improving the Fisher Kernel for Large-Scale Image Classification", 2010.
    """
    copy = features.astype(np.float32)
    if transform == "root":
        copy /= np.sqrt(np.abs(copy) + np.float32(SOFTNESS))
    return copy


def transform_layers(inputs: keras.KerasTensor, transform: Transform) -> keras.KerasTensor:
    """The same in a model, from operations that Keras saves by itself."""
    if transform == "none":
        return inputs
    from keras import ops

    return inputs / ops.sqrt(ops.absolute(inputs) + SOFTNESS)

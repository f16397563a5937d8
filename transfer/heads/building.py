"""Building a head."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from transfer.backend.startup import check_settings
from transfer.errors import InputError
from transfer.heads.options import HeadOptions

if TYPE_CHECKING:
    import keras


def build_head(
    options: HeadOptions,
    mean: np.ndarray,
    variance: np.ndarray,
    feature_shape: Sequence[int],
    num_classes: int,
    seed: int = 0,
) -> "keras.Model":
    """Builds a head whose first layer standardises by training statistics.

    Args:
        options: The layers.
        mean: `(channels,)` mean of each feature over the training rows.
        variance: `(channels,)` variance, likewise.
        feature_shape: Shape of one row of features, `(num_features,)` or `(h, w, channels)`.
        num_classes: Number of classes.
        seed: Of the initial weights and of dropout.

    Returns:
        Model named `head`, `(batch, *feature_shape)` float32 to `(batch, num_classes)`
        probabilities, or `(batch, 1)` with a sigmoid.

    Raises:
        InputError: If the options are out of range or do not fit the number of classes.
    """
    import keras

    check_settings()
    check_head(options, num_classes)
    states = np.random.SeedSequence(seed).generate_state(2 * len(options.hidden) + 2)
    masks = iter((states[::2] % 2**31).tolist())  # with PyTorch, Keras takes no larger ones
    kernels = iter(states[1::2].tolist())
    penalty = keras.regularizers.L2(options.resolved_l2) if options.resolved_l2 else None
    inputs = keras.Input(tuple(feature_shape), name="features")
    normalize = keras.layers.Normalization(mean=mean, variance=variance, name="normalization")
    x = normalize(inputs)
    if len(feature_shape) > 1:
        x = keras.layers.Flatten(name="flatten")(x)
    for number in range(1, len(options.hidden) + 1):
        for layer in _hidden_layers(options, number, next(masks), next(kernels), penalty):
            x = layer(x)
    x = keras.layers.Dropout(options.dropout, seed=next(masks), name="dropout")(x)
    units = 1 if options.output == "sigmoid" else num_classes
    initializer = keras.initializers.GlorotUniform(next(kernels))
    x = keras.layers.Dense(
        units, kernel_initializer=initializer, kernel_regularizer=penalty, name="logits"
    )(x)
    outputs = keras.layers.Activation(options.output, dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="head")


def _hidden_layers(
    options: HeadOptions,
    number: int,
    mask_seed: int,
    kernel_seed: int,
    penalty: "keras.regularizers.Regularizer | None",
) -> Iterator["keras.layers.Layer"]:
    """Yields the layers of hidden layer `number`, counted from 1."""
    import keras

    yield keras.layers.Dropout(options.dropout, seed=mask_seed, name=f"dropout_{number}")
    yield keras.layers.Dense(
        options.hidden[number - 1],
        use_bias=not options.batch_norm,
        kernel_initializer=keras.initializers.HeNormal(kernel_seed),
        kernel_regularizer=penalty,
        name=f"dense_{number}",
    )
    if options.batch_norm:
        yield keras.layers.BatchNormalization(name=f"batch_norm_{number}")
    yield keras.layers.Activation(options.activation, name=f"activation_{number}")


def divide_logits(head: "keras.Model", temperature: float) -> None:
    """Divides the logits of a head by a temperature, in its last weights: no layer more, as exact.

    Args:
        head: From `build_head` or `build_linear_head`.
        temperature: Above 0; 1 changes nothing.
    """
    logits = head.get_layer("logits")
    logits.set_weights([weight / temperature for weight in logits.get_weights()])


def check_head(options: HeadOptions, num_classes: int) -> None:
    """Checks that a head can be built.

    Raises:
        InputError: If the options are out of range or do not fit the number of classes.
    """
    import keras

    if options.output == "sigmoid" and num_classes != 2:
        raise InputError(
            f"--output sigmoid expects two classes, received {num_classes}; use softmax"
        )
    if not 0 <= options.dropout < 1:
        raise InputError(f"--dropout expects a share from 0 up to 1, received {options.dropout}")
    if not 0 <= options.resolved_l2 < math.inf:
        raise InputError(f"--l2 expects a penalty of at least 0, received {options.l2}")
    if any(width < 1 for width in options.hidden):
        raise InputError(f"--hidden expects widths of at least 1, received {options.hidden}")
    try:
        keras.activations.get(options.activation)
    except ValueError:
        raise InputError(
            f"--activation expects a name that Keras knows, such as relu or gelu, "
            f"received {options.activation!r}"
        ) from None

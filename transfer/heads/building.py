"""What a head is, and building one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

    from transfer.heads.batches import Features


@dataclass(frozen=True)
class HeadOptions:
    """The layers of a head, between features and probabilities."""

    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers; none makes a linear head."""
    activation: str = "relu"
    """Activation of the hidden layers, any name that Keras knows."""
    batch_norm: bool = False
    """Batch normalization between each hidden layer and its activation."""
    dropout: float = 0.0
    """Share of activations dropped before each dense layer while training, 0 to 1."""
    l2: float | None = None
    """Penalty on the squares of the dense kernels; by default 0.01 for a linear head, 0 with hidden
    layers."""
    output: Literal["softmax", "sigmoid"] = "softmax"
    """Sigmoid: one output, for two classes only; the probability of the second class."""

    @property
    def resolved_l2(self) -> float:
        """The penalty, or its default.

        Measured on validation, linear, 0.01 against 0: 0.8746 and 0.8645 on 10,240 features of
        CIFAR-10, 0.7278 and 0.7262 on 1,280, 0.9940 and 0.9759 on 10,240 features of digits.
        Hidden layers are better off with dropout.
        """
        if self.l2 is not None:
            return self.l2
        return 0.0 if self.hidden else 0.01


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
    for number, width in enumerate(options.hidden, start=1):
        x = keras.layers.Dropout(options.dropout, seed=next(masks), name=f"dropout_{number}")(x)
        x = keras.layers.Dense(
            width,
            use_bias=not options.batch_norm,
            kernel_initializer=keras.initializers.HeNormal(next(kernels)),
            kernel_regularizer=penalty,
            name=f"dense_{number}",
        )(x)
        if options.batch_norm:
            x = keras.layers.BatchNormalization(name=f"batch_norm_{number}")(x)
        x = keras.layers.Activation(options.activation, name=f"activation_{number}")(x)
    x = keras.layers.Dropout(options.dropout, seed=next(masks), name="dropout")(x)
    units = 1 if options.output == "sigmoid" else num_classes
    initializer = keras.initializers.GlorotUniform(next(kernels))
    x = keras.layers.Dense(
        units, kernel_initializer=initializer, kernel_regularizer=penalty, name="logits"
    )(x)
    outputs = keras.layers.Activation(options.output, dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="head")


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


def feature_statistics(features: "Features") -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per channel, in float64, block by block.

    Args:
        features: `(samples, ..., channels)` of any float dtype, in memory or on disk.

    Returns:
        Two `(channels,)` float32 arrays. The variance of a channel that (almost) never changes
        is given as 1, so that standardising it cannot blow up noise.

    Raises:
        ValueError: If there are no samples.
    """
    from transfer.heads.batches import feature_blocks

    if not len(features):
        raise ValueError("statistics expect at least one sample, received none")
    channels = features.shape[-1]
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    shift = np.zeros(channels)
    for values in feature_blocks(features):
        block = values.reshape(-1, channels).astype(np.float64)
        # Shifted by one sample: the plain sum of squares would cancel where mean >> spread.
        shift = shift if count else block[0].copy()
        block -= shift
        count += len(block)
        total += block.sum(0)
        squares += np.square(block).sum(0)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    variance[variance < 1e-10 * max(1.0, float(variance.max()))] = 1.0
    return (mean + shift).astype(np.float32), variance.astype(np.float32)

"""Update rules for stacked weights: Keras's formulas, with every setting a vector over heads."""

from collections.abc import Mapping
from typing import Any

from keras import ops

SLOTS = {"adam": 2, "adamw": 2, "sgd": 1, "rmsprop": 1}
"""Tensors that each rule remembers per weight."""
EPSILON = 1e-7
"""Of Keras's Adam and RMSprop."""
RHO = 0.9
"""Of Keras's RMSprop."""


def update(
    optimizer: str,
    weight: Any,
    gradient: Any,
    slots: list,
    learning_rate: Any,
    step: Any,
    settings: Mapping[str, Any],
) -> tuple[Any, list]:
    """One step of one stacked weight.

    Source: keras.optimizers.Adam, AdamW, SGD (with Nesterov momentum) and RMSprop, Keras 3.

    Args:
        optimizer: A name in `SLOTS`.
        weight: `(heads, ...)` float32.
        gradient: Likewise.
        slots: What the rule remembers of this weight, likewise; zeros before the first step.
        learning_rate: `(heads,)` float32.
        step: Number of this step, counted from 0, an int32 scalar.
        settings: `(heads,)` float32 each: weight_decay, momentum, beta_1, beta_2.

    Returns:
        The new weight and slots.
    """

    def vector(values: Any) -> Any:
        return ops.reshape(values, (-1, *[1] * (len(weight.shape) - 1)))

    rate = vector(learning_rate)
    weight = weight - weight * vector(settings["weight_decay"]) * rate
    match optimizer:
        case "sgd":
            momentum = vector(settings["momentum"])
            velocity = momentum * slots[0] - rate * gradient
            return weight + momentum * velocity - rate * gradient, [velocity]
        case "rmsprop":
            mean_square = RHO * slots[0] + (1 - RHO) * ops.square(gradient)
            return weight - rate * gradient / ops.sqrt(mean_square + EPSILON), [mean_square]
        case _:
            beta_1, beta_2 = settings["beta_1"], settings["beta_2"]
            number = ops.cast(step + 1, "float32")
            correction = ops.sqrt(1 - ops.power(beta_2, number)) / (1 - ops.power(beta_1, number))
            mean = slots[0] + (gradient - slots[0]) * (1 - vector(beta_1))
            mean_square = slots[1] + (ops.square(gradient) - slots[1]) * (1 - vector(beta_2))
            step_size = rate * vector(correction)
            weight = weight - mean * step_size / (ops.sqrt(mean_square) + EPSILON)
            return weight, [mean, mean_square]

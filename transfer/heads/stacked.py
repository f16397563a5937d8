"""The arithmetic of many heads at once: stacked weights, one product per layer, one loss per head.

Weights of `heads` heads of one shape lie in one array each: kernels `(heads, out, in)`, biases
`(heads, out)`. With the outputs before the inputs, all kernels of the first layer together are one
matrix `(heads * out, in)`: its product with a batch that all heads share is a single large one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

BATCH_NORM_MOMENTUM = 0.99
"""Share of the moving statistics that a step keeps: Keras's default."""
BATCH_NORM_EPSILON = 1e-3
"""Keras's default."""


@dataclass(frozen=True)
class Architecture:
    """What heads must have in common to be stacked."""

    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    activation: str
    """Of the hidden layers."""
    batch_norm: bool
    """Batch normalization between each hidden layer and its activation."""
    sigmoid: bool
    """One output for two classes."""
    dropout: bool
    """Whether any head drops activations: then each sees a batch of its own."""
    optimizer: str
    """Update rule."""


def forward(
    architecture: Architecture,
    weights: list,
    moving: list,
    batch: Any,
    mask: Any = None,
    dropout: "Dropout | None" = None,
) -> tuple[Any, list]:
    """Logits of all heads.

    Args:
        architecture: Of the heads.
        weights: Per hidden layer kernel and bias, or kernel, scale and offset with batch norm; then
            the last kernel and bias.
        moving: Per batch norm its moving mean and variance, `(heads, width)`.
        batch: `(rows, num_features)` float32, standardised.
        mask: `(rows,)` float32 while training: 1, or 0 for a row that fills up the batch.
        dropout: While training, if heads drop activations.

    Returns:
        `(heads, rows, outputs)` float32, and the new moving statistics.
    """
    left, old_statistics, units, new_moving = iter(weights), iter(moving), batch, []
    activation = keras.activations.get(architecture.activation)
    for layer in range(len(architecture.hidden)):
        units = _dense(dropout(units, layer) if dropout else units, next(left))
        if architecture.batch_norm:
            scale, offset = next(left), next(left)
            statistics = next(old_statistics), next(old_statistics)
            if mask is not None:
                used = _moments(units, mask)
                new_moving += [
                    old * BATCH_NORM_MOMENTUM + new * (1 - BATCH_NORM_MOMENTUM)
                    for old, new in zip(statistics, used, strict=True)
                ]
            else:
                used = statistics
            mean, variance = used
            factor = scale / ops.sqrt(variance + BATCH_NORM_EPSILON)
            units = (units - mean[:, None]) * factor[:, None] + offset[:, None]
        else:
            units = units + next(left)[:, None]
        units = activation(units)
    last = len(architecture.hidden)
    units = _dense(dropout(units, last) if dropout else units, next(left))
    return units + next(left)[:, None], new_moving


def _dense(units: Any, kernel: Any) -> Any:
    """`(heads, rows, out)`; before the first kernel, without dropout, all heads share the batch."""
    heads, width, num_inputs = kernel.shape
    if len(units.shape) == 3:
        return ops.einsum("hbi,hoi->hbo", units, kernel)
    # One product, and as such: written as an einsum it was measured a quarter slower.
    wide = ops.matmul(units, ops.transpose(ops.reshape(kernel, (heads * width, num_inputs))))
    return ops.transpose(ops.reshape(wide, (-1, heads, width)), (1, 0, 2))


def _moments(units: Any, mask: Any) -> tuple[Any, Any]:
    """`(heads, width)` mean and variance over the rows that count."""
    number = ops.sum(mask)
    mean = ops.sum(units * mask[:, None], 1) / number
    variance = ops.sum(ops.square(units - mean[:, None]) * mask[:, None], 1) / number
    return mean, variance


def losses(architecture: Architecture, logits: Any, labels: Any, smoothing: Any) -> Any:
    """Cross-entropy of each head and row.

    Args:
        architecture: Of the heads.
        logits: `(heads, rows, outputs)`.
        labels: `(rows,)` int32.
        smoothing: `(heads,)` label smoothing.

    Returns:
        `(heads, rows)` float32 nats.
    """
    smoothing = smoothing[:, None]
    if architecture.sigmoid:
        target = ops.cast(labels, "float32") * (1 - smoothing) + smoothing / 2
        return ops.softplus(logits[..., 0]) - target * logits[..., 0]
    logs = ops.log_softmax(logits, axis=-1)
    num_classes = logits.shape[-1]
    picked = ops.sum(logs * ops.one_hot(labels, num_classes, dtype="float32"), -1)
    return -(1 - smoothing) * picked - smoothing / num_classes * ops.sum(logs, -1)


def probabilities(architecture: Architecture, logits: Any) -> Any:
    """`(heads, rows, num_classes)` float32, two columns for a sigmoid."""
    if not architecture.sigmoid:
        return ops.softmax(logits, axis=-1)
    second = ops.sigmoid(logits)
    return ops.concatenate([1 - second, second], axis=-1)


class Dropout:
    """Drops activations, with masks of its own for each head, layer and step.

    A mask depends on the head's seed, the step, the layer, the row's place in the batch and the
    unit, and on nothing else: a head sees the same masks in whichever bank it is, on every
    backend. Keras's dropout draws one tensor per seed, which a stack of heads would have to do
    head by head.

    Args:
        settings: `(heads,)` each: `seeds` int32, `dropout` float32 shares.
        step: Number of the step, an int32 scalar.
    """

    def __init__(self, settings: Mapping[str, Any], step: Any) -> None:
        self._seeds, self._shares, self._step = settings["seeds"], settings["dropout"], step

    def __call__(self, units: Any, layer: int) -> Any:
        """Drops of units, `(rows, width)` shared or `(heads, rows, width)`, and scales the rest."""
        rows, width = units.shape[-2:]
        scale = ops.reshape(1 / (1 - self._shares), (-1, 1, 1))
        return units * ops.where(self.kept(layer, rows, width), scale, 0.0)

    def kept(self, layer: int, rows: int, width: int) -> Any:
        """`(heads, rows, width)` bool: which units stay."""
        places = ops.reshape(ops.arange(1, rows * width + 1, dtype="int32"), (1, rows, width))
        shared = _mixed(ops.bitwise_xor(_mixed(places), _mixed(self._step * 64 + layer + 1)))
        bits = _mixed(ops.bitwise_xor(shared, _mixed(ops.reshape(self._seeds, (-1, 1, 1)))))
        # 24 bits are what a float32 holds exactly.
        drawn = ops.cast(ops.bitwise_and(bits, 0xFFFFFF), "float32") / 2**24
        return drawn >= ops.reshape(self._shares, (-1, 1, 1))


def _mixed(values: Any) -> Any:
    """Scrambles the 32 bits of integers, one to one.

    Source: "lowbias32" of Chris Wellons, https://nullprogram.com/blog/2018/07/31/; the constants
    are written as the int32 with the same bits, because not every backend multiplies uint32.
    """
    values = _folded(values, 16) * 0x7FEB352D
    values = _folded(values, 15) * (0x846CA68B - 2**32)
    return _folded(values, 16)


def _folded(values: Any, bits: int) -> Any:
    # The shift of a signed integer fills up with its sign, which the mask takes away again.
    shifted = ops.bitwise_and(ops.right_shift(values, bits), 2 ** (32 - bits) - 1)
    return ops.bitwise_xor(values, shifted)

"""Compiled training steps and scores of all heads of a bank."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from keras import ops

from transfer.backend.compiled import compiled, gradients
from transfer.heads.stacked import Architecture, Dropout, forward, losses, probabilities
from transfer.heads.updates import SLOTS, update
from transfer.metrics import SMALLEST_PROBABILITY


@cache
def trainer(architecture: Architecture) -> Callable:
    """Compiles training, once per architecture.

    Returns:
        Function of `state` (stacks of weights, slots and moving statistics), `settings` (vectors
        over heads), a chunk as `training_chunks` yields it with the `rates (steps, heads)`, and
        `bounds` (the first step's number, and how many steps there are); gives the new state, and
        per head sums of loss and of right answers over the chunk's rows.
    """
    return compiled(partial(_train, architecture))


@cache
def scorer(architecture: Architecture, views: int) -> Callable:
    """Compiles judging, once per architecture and number of views.

    Returns:
        Function of state and settings as `trainer` takes them, and of a piece as
        `validation_pieces` yields it; gives per head sums of loss and of right answers over images.
    """
    return compiled(partial(_score, architecture, views))


def _train(
    architecture: Architecture, state: dict, settings: dict, chunk: dict, bounds: Any
) -> tuple[dict, tuple]:
    """Steps over a chunk; `bounds` are the first step's number and how many steps there are."""

    def one_step(index: Any, carried: tuple) -> tuple:
        state, sums = carried
        batch = {name: values[index] for name, values in chunk.items()}
        state, of_step = _step(architecture, state, settings, batch, bounds[0] + index)
        return state, tuple(old + new for old, new in zip(sums, of_step, strict=True))

    nothing = ops.zeros(settings["seeds"].shape, "float32")
    return ops.fori_loop(0, bounds[1], one_step, (state, (nothing, nothing)))


def _step(
    architecture: Architecture, state: dict, settings: dict, batch: dict, number: Any
) -> tuple[dict, tuple]:
    """One gradient step of all heads; sums of loss and right answers over the batch's rows."""
    features, labels, count = batch["features"], batch["labels"], batch["counts"]
    present = ops.cast(ops.arange(labels.shape[0]) < ops.cast(count, "int32"), "float32")
    features = (features - settings["mean"]) / settings["deviation"]
    dropout = Dropout(settings, number) if architecture.dropout else None

    def total_loss(weights: list) -> tuple[Any, tuple]:
        logits, moving = forward(architecture, weights, state["moving"], features, present, dropout)
        of_rows = losses(architecture, logits, labels, settings["label_smoothing"])
        squares = sum(ops.sum(ops.square(one), (1, 2)) for one in weights if len(one.shape) == 3)
        of_heads = (
            ops.sum(of_rows * batch["row_weights"], 1) / count + settings["penalty"] * squares
        )
        # Heads share no weight, so that the sum's gradient is each head's own.
        return ops.sum(of_heads), (of_heads * count, logits, moving)

    weights = state["weights"]
    derivatives, (loss_sums, logits, moving) = gradients(total_loss, weights)
    size = SLOTS[architecture.optimizer]
    updated = [
        update(
            architecture.optimizer,
            weight,
            derivative,
            state["slots"][size * index : size * (index + 1)],
            batch["rates"],
            number,
            settings,
        )
        for index, (weight, derivative) in enumerate(zip(weights, derivatives, strict=True))
    ]
    state = {
        "weights": [weight for weight, _ in updated],
        "slots": [slot for _, slots in updated for slot in slots],
        "moving": moving,
    }
    right = _right(probabilities(architecture, logits), labels)
    return state, (loss_sums, ops.sum(right * present, 1))


def _score(
    architecture: Architecture, views: int, state: dict, settings: dict, piece: dict
) -> tuple[Any, Any]:
    """Per head sums of loss and right answers over the images of a piece."""
    features = (piece["features"] - settings["mean"]) / settings["deviation"]
    logits, _ = forward(architecture, state["weights"], state["moving"], features)
    values = probabilities(architecture, logits)
    heads, samples, num_classes = values.shape
    values = ops.mean(ops.reshape(values, (heads, samples // views, views, num_classes)), 2)
    picked = ops.sum(values * ops.one_hot(piece["labels"], num_classes, dtype="float32"), -1)
    loss = -ops.log(ops.maximum(picked, SMALLEST_PROBABILITY))
    # Where there are no numbers, the first class would be the most probable one.
    right = _right(values, piece["labels"]) * ops.cast(ops.isfinite(loss), "float32")
    return ops.sum(loss * piece["mask"], 1), ops.sum(right * piece["mask"], 1)


def _right(values: Any, labels: Any) -> Any:
    """`(heads, rows)` float32: 1 where the most probable class is the label's."""
    return ops.cast(ops.argmax(values, -1) == ops.cast(labels, "int32"), "float32")

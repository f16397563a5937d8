"""Learning rates of many heads at many steps, as numbers."""

import math
from collections.abc import Sequence

import numpy as np

from transfer.heads.options import FitOptions


def learning_rates(
    options: Sequence[FitOptions],
    highest: np.ndarray,
    steps_per_epoch: int,
    first_step: int,
    num_steps: int,
) -> np.ndarray:
    """What Keras's schedules give, for each step and head.

    Args:
        options: One a head: schedule, decay, warm-up and epochs.
        highest: `(heads,)` float, the highest rate of each schedule; of plateau the present rate.
        steps_per_epoch: Gradient steps of one epoch.
        first_step: Number of the first step wanted, counted from 0.
        num_steps: How many steps are wanted.

    Returns:
        `(num_steps, heads)` float32.
    """
    steps = np.arange(first_step, first_step + num_steps)
    columns = [_shares(option, steps_per_epoch, steps) for option in options]
    return (np.stack(columns, 1) * highest).astype(np.float32)


def _shares(options: FitOptions, steps_per_epoch: int, steps: np.ndarray) -> np.ndarray:
    """`(steps,)` float64 shares of the highest rate."""
    match options.schedule:
        case "exponential":
            return options.decay ** (steps // steps_per_epoch)
        case "cosine":
            warmup = round(options.warmup_epochs * steps_per_epoch)
            length = max(1, options.epochs * steps_per_epoch - warmup)
            progress = np.clip((steps - warmup) / length, 0, 1)
            falling = (1 + np.cos(math.pi * progress)) / 2
            return np.where(steps < warmup, steps / max(1, warmup), falling)
        case _:  # constant, and plateau, whose falls depend on what validation says
            return np.ones(len(steps))


def plateau_falls(values: Sequence[float], maximise: bool, patience: int) -> int:
    """How often the plateau schedule has halved the rate.

    Source: keras.callbacks.ReduceLROnPlateau, whose least improvement is 0.0001.

    Args:
        values: The monitored score after each epoch so far.
        maximise: Whether higher is better.
        patience: Epochs without improvement after which the rate falls.
    """
    best, waited, falls = -math.inf, 0, 0
    for value in values if maximise else [-value for value in values]:
        if value > best + 1e-4:
            best, waited = value, 0
            continue
        waited += 1
        if waited >= patience:
            falls, waited = falls + 1, 0
    return falls

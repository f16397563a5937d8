"""A short test on the model itself that finds a learning rate."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from transfer.finetuning.tuning import Batches, Tuner

STEPS = 24
LOWEST, HIGHEST = 1e-5, 1e-1
"""Rates that the test goes through."""
MARGIN = 2.0
"""The rate taken is so many times below that at which the loss begins to rise. Source: Smith,
"Cyclical Learning Rates for Training Neural Networks", 2017, and fastai's `lr_find`, which takes
10. Out of fold, 2 gained more than 5 on four of six sets of 210 to 1,000 images: how far to go is
judged afterwards, so that a rate too high costs less than one too low."""


@dataclass(frozen=True)
class RateTest:
    """What a test found.

    Attributes:
        rates: Of each step.
        losses: Of each step's batch, before it, smoothed.
        rate: What to train with.
    """

    rates: list[float]
    losses: list[float]
    rate: float


def find_rate(
    tuner: Tuner, batches: Batches, report: Callable[[int], None] = lambda step: None
) -> RateTest:
    """Lets the rate rise step by step until the loss does; the weights are as before afterwards.

    Args:
        tuner: Its weights are those to start from.
        batches: Of `STEPS` steps.
        report: Called after each step with its number.
    """
    before = [np.array(variable) for variable in tuner.variables]
    tuner.rising(HIGHEST, float(np.log10(HIGHEST / LOWEST)), STEPS)
    noted = _Losses(report)
    tuner.seed(0)
    tuner.fit(batches, [noted], 0, 1)
    tuner.set_weights(before)
    losses = np.array(noted.losses)
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)[: len(losses)]
    smooth = _smoothed(losses)
    return RateTest(rates.tolist(), smooth.tolist(), float(rates[_turn(smooth)] / MARGIN))


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """The mean of each three neighbours; a batch of few images says little."""
    padded = np.pad(losses, 1, mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def _turn(smooth: np.ndarray) -> int:
    """The last step before the loss rises for good: the lowest of those up to its rise."""
    start = float(smooth[:3].mean())
    risen = np.flatnonzero(smooth > 1.5 * start + 0.1)
    end = int(risen[0]) if len(risen) else len(smooth)
    return max(0, end - 1)


class _Losses(keras.callbacks.Callback):
    """Notes the loss of each batch, which Keras hides in a mean; stops where it explodes."""

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._sum, self._report = 0.0, report

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        total = float(logs["loss"]) * (len(self.losses) + 1)
        loss, self._sum = total - self._sum, total
        self._report(len(self.losses) + 1)
        if not np.isfinite(loss) or (self.losses and loss > 10 + 4 * max(self.losses[:3])):
            self.model.stop_training = True
            return
        self.losses.append(loss)

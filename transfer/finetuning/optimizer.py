"""Adam with a rate for each weight, whose schedule can be set anew without compiling anew."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from transfer.backend.keras_private import number_of, running_averages


class ScheduledAdam(keras.optimizers.Adam):
    """Adam with decoupled weight decay, a factor on the rate of each weight, and an average.

    The rate of a step is that of the schedule times the weight's factor. The schedule is held in
    variables, so that one compiled step serves a rate test and several trainings.

    Args:
        factors: On the rate, by the path of a variable; 1 for those that are not named.
        weight_decay: Times the rate, for variables of two and more dimensions: Loshchilov and
            Hutter, "Decoupled Weight Decay Regularization", 2019; norms and biases have none, as
            in Goyal et al., "Accurate, Large Minibatch SGD", 2017.
        clip: Largest norm of the gradient of all variables together.
        accumulate: Batches whose gradients are averaged for one step.
        averaging: Share of the running average of weights that a step keeps.
    """

    def __init__(
        self,
        factors: Mapping[str, float],
        weight_decay: float,
        clip: float,
        accumulate: int,
        averaging: float,
    ) -> None:
        super().__init__(
            learning_rate=1.0,
            global_clipnorm=clip,
            use_ema=True,
            ema_momentum=averaging,
            gradient_accumulation_steps=accumulate if accumulate > 1 else None,
        )
        self._by_path, self._decay = dict(factors), weight_decay

    def build(self, variables: list) -> None:
        """Makes the schedule's variables beside those of Adam."""
        super().build(variables)
        self._factors = [self._by_path.get(variable.path, 1.0) for variable in variables]
        names = ("highest_rate", "steps", "warmup_steps", "decades")
        self._schedule = {
            name: self.add_variable((), "zeros", "float32", name=name) for name in names
        }

    def schedule(self, highest: float, steps: int, warmup: float, decades: float = 0.0) -> None:
        """Starts anew, with this schedule.

        Args:
            highest: The highest rate.
            steps: Gradient steps in all.
            warmup: Share of them in which the rate rises, before it falls as a cosine to zero.
            decades: If given, the rate rises all the time, from so many powers of ten below.
        """
        for variable in self.variables:
            variable.assign(ops.zeros(variable.shape, variable.dtype))
        values = (highest, steps, _rising_steps(warmup, steps), decades)
        for variable, value in zip(self._schedule.values(), values, strict=True):
            variable.assign(value)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        rate = self._rate() * self._factors[number_of(variable, self)]
        if self._decay and len(variable.shape) > 1:
            self.assign_sub(variable, rate * self._decay * variable)
        super().update_step(gradient, variable, rate)

    def _rate(self) -> Any:
        done = ops.cast(self.iterations, "float32")
        highest, steps, warmup, decades = self._schedule.values()
        power = ops.power(10.0, decades * (done / ops.maximum(steps - 1, 1.0) - 1))
        return highest * ops.where(decades > 0, power, _share_of(ops, done, steps, warmup))

    def averages(self) -> list[np.ndarray]:
        """The running averages of the variables, in their order."""
        return [np.array(average) for average in running_averages(self)]


def rates_at(at: np.ndarray, highest: float, steps: int, warmup: float) -> np.ndarray:
    """What the schedule without decades gives at steps, counted from 0; float64."""
    return highest * _share_of(np, at, steps, _rising_steps(warmup, steps))


def _rising_steps(warmup: float, steps: int) -> int:
    return max(1, round(warmup * steps))


def _share_of(functions: Any, step: Any, steps: Any, rising: Any) -> Any:
    """The share of the highest rate, by the functions of numpy, or of Keras for its tensors."""
    progress = (step - rising) / functions.maximum(steps - rising, 1)
    falling = (1 + functions.cos(math.pi * functions.clip(progress, 0.0, 1.0))) / 2
    return functions.where(step < rising, (step + 1) / rising, falling)

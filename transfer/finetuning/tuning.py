"""Training a classifier's weights from their start: one compiled step for every run."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from transfer.backend.devices import has_accelerator
from transfer.backend.keras_private import allow_jit
from transfer.backend.mixed import mixed_precision
from transfer.errors import InputError
from transfer.finetuning.folding import fold_norms
from transfer.finetuning.optimizer import ScheduledAdam, rates_at
from transfer.finetuning.options import FinetuneOptions
from transfer.machine.whole_files import whole_file
from transfer.metrics import SMALLEST_PROBABILITY

EXPLODED = -0.75 * float(np.log(SMALLEST_PROBABILITY))
"""Mean loss, nats, with which three of four images are given no chance: that is no training."""

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run came to.

    Attributes:
        weights: The running average of each trained variable at the end.
        history: Per epoch: loss, accuracy, val_loss, val_accuracy, learning_rate.
    """

    weights: list[np.ndarray]
    history: dict[str, list[float]]


class DivergedError(InputError):
    """Training lost its way.

    Args:
        step: Number of the step at which it was seen, counted from 1.
        rate: The highest learning rate up to there.
        loss: The mean loss of the epoch so far, no number or far above that of guessing.
    """

    def __init__(self, step: int, rate: float, loss: float) -> None:
        super().__init__(
            f"fine-tuning diverged at step {step}, at a rate of {rate:.3g}: expected a loss that "
            f"falls, received {loss:.3g}; nothing was changed; give a lower --learning-rate"
        )
        self.rate = rate


class LossModel(keras.Model):
    """Adds random changes in front of a model, and the loss behind it.

    Takes a dictionary of `images`, what the preparing layers take; `targets`, `(batch, classes)`
    float32 shares; and `weights`, `(batch,)` float32. The layers of the model run as they do where
    nothing is learned: norms keep their statistics, and nothing is dropped.

    Args:
        forward: To probabilities, `(batch, classes)` or `(batch, 1)`, with what trains chosen.
        preparing: Layers in front of it, which may change images at random.
        mixing: Layers that mix images and targets of a batch.
    """

    def __init__(
        self,
        forward: keras.Model,
        preparing: Sequence[keras.layers.Layer] = (),
        mixing: Sequence[keras.layers.Layer] = (),
    ) -> None:
        super().__init__(name="tuning")
        self.forward, self.preparing, self.mixing = forward, list(preparing), list(mixing)
        # Behind it, so that the order of all variables is the forward model's.
        self._quick = forward if has_accelerator() else fold_norms(forward)
        if keras.backend.backend() == "jax":
            for layer in self.preparing + self.mixing:
                allow_jit(layer)

    def build(self, input_shape: Any = None) -> None:
        """Nothing is made: the layers were built before, or have no weights."""
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Probabilities, `(batch, classes)`; adds the mean loss."""
        images, targets = inputs["images"], inputs["targets"]
        for layer in self.preparing:
            images = layer(images, training=training)
        if training:
            for layer in self.mixing:
                mixed = layer({"images": images, "labels": targets}, training=True)
                images, targets = mixed["images"], mixed["labels"]
        # DESIGN: fit would move the statistics of norms, were they called as the model is.
        probabilities = self._quick(images, training=False)
        if probabilities.shape[-1] == 1:
            probabilities = ops.concatenate([1 - probabilities, probabilities], axis=-1)
        logs = ops.log(ops.clip(probabilities, SMALLEST_PROBABILITY, 1.0))
        self.add_loss(ops.mean(-ops.sum(targets * logs, axis=-1) * inputs["weights"]))
        return probabilities


class Batches(keras.utils.PyDataset):
    """Batches of one size for a `LossModel`: what fills up the last begins the epoch again.

    Args:
        images: Batches of images, a `ShuffledBatches`.
        targets: `(n, classes)` float32, of its rows.
        weights: `(n,)` float32, likewise.
        labels: `(n,)` integers, likewise.
        batch_size: Rows of one batch.
    """

    def __init__(
        self,
        images: Any,
        targets: np.ndarray,
        weights: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
    ) -> None:
        super().__init__(workers=images.workers, max_queue_size=8)
        self._images, self._targets, self._weights = images, targets, weights
        self._labels, self._batch_size = labels, batch_size

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], np.ndarray]:
        """Batch number `index`."""
        chosen, images = self._images.chosen(index), self._images[index]
        if len(chosen) < self._batch_size:
            places = np.resize(np.arange(len(chosen)), self._batch_size)
            chosen = chosen[places]
            images = keras.tree.map_structure(lambda each: each[places], images)
        inputs = {
            "images": images,
            "targets": self._targets[chosen],
            "weights": self._weights[chosen],
        }
        return inputs, self._labels[chosen]

    def on_epoch_end(self) -> None:
        """Draws the next epoch's order."""
        self._images.on_epoch_end()


class Tuner:
    """Trains a model's variables from a start, as often as asked, with one compiled step.

    Args:
        model: What is trained, with its random changes.
        backbone: The model inside it that computes in bfloat16 on an accelerator.
        head: The model inside it whose variables train at a rate of their own.
        depths: Number of blocks between the head and a variable, by the variable's path.
        options: How to train.
        steps: Of one training, about; the running average goes back a tenth of them.
    """

    def __init__(
        self,
        model: LossModel,
        backbone: keras.Model,
        head: keras.Model,
        depths: dict[str, int],
        options: FinetuneOptions,
        steps: int,
    ) -> None:
        self.variables = list(model.forward.trainable_variables)
        self.start = [np.array(variable) for variable in self.variables]
        self.options = options
        self._model, self._backbone = model, backbone
        factors = {path: options.depth_decay**depth for path, depth in depths.items()}
        wide = min(1.0, (1280 / max(1, int(np.prod(head.input_shape[1:])))) ** 0.5)
        factors |= {each.path: options.head_rate * wide for each in head.trainable_variables}
        self._optimizer = ScheduledAdam(
            factors,
            options.weight_decay,
            options.clip,
            options.accumulate,
            averaging=1 - 1 / max(5.0, steps / 10),
        )
        model.compile(
            optimizer=self._optimizer,
            loss=None,
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            jit_compile=keras.backend.backend() == "jax",
        )
        self._optimizer.build(self.variables)

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Gives the trained variables these values."""
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)

    def train(
        self,
        batches: Callable[[int], Batches],
        rate: float,
        folder: Path,
        validate: Callable[[], dict[str, float]] = dict,
        report: Report = lambda batches_done, scores: None,
    ) -> Trained:
        """Trains from where the weights are; goes on after the last whole epoch of a run before.

        Args:
            batches: Gives the training batches from an epoch on.
            rate: The schedule's highest.
            folder: Where the state is kept after each epoch.
            validate: Scores the averaged weights after each epoch, for the history.
            report: Called after each batch with how many are done, and the epoch's scores so far.

        Raises:
            InputError: If the loss is no number any more, or worse than that of guessing.
        """
        state = _State(folder, self)
        history = state.load()
        done = len(history.get("loss", ()))
        data = batches(done)
        if not done:
            steps = len(data) * self.options.epochs // self.options.accumulate
            self._optimizer.schedule(rate, max(1, steps), self.options.warmup)
        if done < self.options.epochs:
            epochs = _Epochs(self, state, history, rate, len(data), validate, report)
            self.fit(data, [epochs], done, self.options.epochs)
        return Trained(self._optimizer.averages(), history)

    def fit(
        self, data: Batches, callbacks: list[keras.callbacks.Callback], first: int, end: int
    ) -> None:
        """Runs epochs from `first` up to `end`."""
        with mixed_precision(self._backbone):
            self._model.fit(
                data,
                initial_epoch=first,
                epochs=end,
                shuffle=False,  # the batches shuffle by themselves, the same after a resumption
                callbacks=callbacks,
                verbose=0,
            )

    def rising(self, highest: float, decades: float, steps: int) -> None:
        """Has the rate rise by powers of ten, up to the highest, in so many steps."""
        self._optimizer.schedule(highest, steps, 0.0, decades)

    def averages(self) -> list[np.ndarray]:
        """The running averages of the trained variables."""
        return self._optimizer.averages()

    def seed(self, epoch: int) -> None:
        """Has what is random in an epoch depend on its number and the seed alone."""
        states = [v for v in self._model.variables if v.path.endswith("seed_generator_state")]
        for number, state in enumerate(states):
            state.assign(np.array([self.options.seed + number, epoch]))

    @property
    def state(self) -> list[Any]:
        """All variables that a step changes."""
        return [*self.variables, *self._optimizer.variables]


class _State:
    """Weights, optimizer and history after the last whole epoch, in one file, whole or absent."""

    def __init__(self, folder: Path, tuner: Tuner) -> None:
        self._path, self._tuner = folder / "state.npz", tuner

    def load(self) -> dict[str, list[float]]:
        """Restores what was saved; returns the history, empty if there was nothing."""
        if not self._path.exists():
            return {}
        with np.load(self._path) as saved:
            for number, variable in enumerate(self._tuner.state):
                variable.assign(saved[f"variable_{number}"])
            return json.loads(str(saved["history"]))

    def save(self, history: dict[str, list[float]]) -> None:
        """Replaces what was saved."""
        arrays: dict[str, Any] = {
            f"variable_{n}": np.array(v) for n, v in enumerate(self._tuner.state)
        }
        with whole_file(self._path) as temporary:
            np.savez(temporary, history=np.array(json.dumps(history)), **arrays)


class _Epochs(keras.callbacks.Callback):
    """Watches for divergence, scores the averaged weights after each epoch, and keeps the state."""

    def __init__(
        self,
        tuner: Tuner,
        state: _State,
        history: dict[str, list[float]],
        rate: float,
        steps: int,
        validate: Callable[[], dict[str, float]],
        report: Report,
    ) -> None:
        super().__init__()
        self._tuner, self._state, self._history = tuner, state, history
        self._rate, self._steps, self._validate, self._report = rate, steps, validate, report
        self._step = len(history.get("loss", ())) * steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._tuner.seed(epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self._check(logs["loss"])
        self._step += 1
        self._report(self._step, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        weights = [np.array(variable) for variable in self._tuner.variables]
        self._tuner.set_weights(self._tuner.averages())
        scores = {name: float(value) for name, value in logs.items()} | self._validate()
        self._tuner.set_weights(weights)
        scores["learning_rate"] = float(self._rates(self._step)[-1])
        for name, value in scores.items():
            self._history.setdefault(name, []).append(value)
        self._state.save(self._history)

    def _rates(self, end: int) -> np.ndarray:
        """Of the steps before one, `(end,)`."""
        options = self._tuner.options
        steps = max(1, self._steps * options.epochs // options.accumulate)
        return rates_at(np.arange(end) // options.accumulate, self._rate, steps, options.warmup)

    def _check(self, loss: float) -> None:
        """Stops a training that has lost its way."""
        if not (np.isfinite(loss) and loss < EXPLODED):
            raise DivergedError(self._step + 1, float(self._rates(self._step + 1).max()), loss)

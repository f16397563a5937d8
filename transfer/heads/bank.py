"""A bank of heads: many heads of one architecture, trained as one stacked model.

A head alone leaves most of a machine idle: its products are narrow and its steps short. Stacked, a
hundred linear heads are one wide product per step, and share every read of the features.
"""

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from transfer.backend.startup import check_settings
from transfer.errors import InputError
from transfer.heads.batches import ShuffledBatches, feature_batches
from transfer.heads.building import build_head, check_head
from transfer.heads.chunks import made_ahead, training_chunks, validation_pieces
from transfer.heads.fitting import Fitted, best_epoch, class_weights
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples
from transfer.heads.schedules import learning_rates, plateau_falls
from transfer.heads.stacked import Architecture
from transfer.heads.steps import scorer, trainer
from transfer.heads.updates import SLOTS

PREDICTION_BYTES = 2**25
"""Of the widest activations of all heads where nothing is learned."""
WORTH_SHRINKING = 0.75
"""Share of heads still training at which stopped ones are taken out of the stacks: another size
has to be compiled, which takes as long as some hundred steps."""
COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
"""Of a head's history."""
FIT_VECTORS = ("weight_decay", "momentum", "beta_1", "beta_2", "label_smoothing")
"""Options of fitting that the compiled loop takes as vectors over heads."""


@dataclass(frozen=True)
class Design:
    """One head to be trained: its layers, and how."""

    head: HeadOptions
    fit: FitOptions

    @property
    def architecture(self) -> Architecture:
        """What the head must share with others to be stacked with them."""
        head, fit = self.head.effective(), self.fit.effective()
        return Architecture(
            hidden=head.hidden,
            activation=head.activation,
            batch_norm=head.batch_norm,
            sigmoid=head.output == "sigmoid",
            dropout=head.dropout > 0,
            optimizer=fit.optimizer,
        )


def stack_key(design: Design) -> Hashable:
    """What designs must share to be trained in one bank."""
    fit = design.fit
    return design.architecture, fit.batch_size, fit.class_weights, fit.shuffle


class HeadBank:
    """Heads of one architecture, trained together on the same batches.

    An epoch leaves each head with the weights that it would have alone on the same order of rows,
    up to the order of sums in float32: initial weights and dropout masks come from its own seed;
    its learning rate, schedule, weight decay, momentum or betas, dropout, label smoothing, penalty
    and patience are its own. Scores are those that count: validation accuracy and loss of the mean
    over the views of an image, without smoothing or penalty. (`fit_head` has both in its val_loss:
    where that is monitored it may stop, or choose its epoch, otherwise.) A head that stops keeps
    its best epoch, and costs nothing more as soon as a quarter of the bank has stopped.

    Args:
        designs: One a head, of one `stack_key`.
        mean: `(channels,)` of the training features.
        variance: `(channels,)`, likewise.
        feature_shape: Of one sample.
        num_classes: Number of classes.
        seed: Of the order of the rows, which all heads share.

    Attributes:
        designs: As given; a head's number is its index here.
        history: Per head what each of its epochs came to, columns as those of `Fitted`.
        seconds: `(heads,)` each head's share of the time.
        epochs_done: Epochs trained so far.

    Raises:
        ValueError: If there are no designs, or they cannot be stacked.
        InputError: As `check_head`.
    """

    def __init__(
        self,
        designs: Sequence[Design],
        mean: np.ndarray,
        variance: np.ndarray,
        feature_shape: Sequence[int],
        num_classes: int,
        seed: int = 0,
    ) -> None:
        check_settings()
        keys = {stack_key(design) for design in designs}
        if len(keys) != 1:
            raise ValueError(f"a bank expects designs of one stack key, received {keys}")
        for design in designs:
            check_head(design.head, num_classes)
        self.designs = tuple(designs)
        self._statistics, self._shape = (mean, variance), tuple(feature_shape)
        self._num_classes, self._seed = num_classes, seed
        self._architecture = designs[0].architecture
        self._places = np.arange(len(designs))  # numbers of the heads in the stacks
        self._state: dict[str, list] = {}
        self._best: dict[int, list[np.ndarray]] = {}
        self.history: list[dict[str, list[float]]] = [
            {column: [] for column in COLUMNS} for _ in designs
        ]
        self.seconds = np.zeros(len(designs))
        self.epochs_done = 0

    def fit(
        self,
        train: Samples,
        val: Samples,
        epochs: int,
        report: Callable[[int], None] = lambda epochs_done: None,
    ) -> None:
        """Trains all heads that have not stopped up to an epoch, each no longer than its own.

        Args:
            train: What is learned from.
            val: What each epoch is judged by.
            epochs: Number of the last epoch, counted from 1 over all calls.
            report: Called after each epoch with the number of epochs done.

        Raises:
            InputError: If there are no training or no validation rows.
            Exception: Whatever reading features from disk raises. The bank is then in the middle
                of an epoch: go on with `restore`, not with `fit`.
        """
        if not len(train.labels) or not len(val.labels):
            raise InputError(
                f"a bank expects training and validation rows, received {len(train.labels)} and "
                f"{len(val.labels)}"
            )
        self._state = self._state or self._initial_state()
        options = self.designs[0].fit
        batches = feature_batches(
            train.features,
            train.labels,
            options.batch_size_for(len(train.labels)),
            self._seed if options.shuffle else None,
            self.epochs_done + 1,  # `Model.fit` draws a second order before its first epoch
        )
        while self.epochs_done < epochs:
            self._leave_out_stopped()
            if not len(self._places):
                return
            started = time.monotonic()
            sums = self._train_epoch(batches, train.labels)
            self.epochs_done += 1
            self._note([*sums, *self._judge(val)], len(batches))
            self.seconds[self._places] += (time.monotonic() - started) / len(self._places)
            batches.on_epoch_end()
            report(self.epochs_done)

    def drop(self, numbers: Sequence[int]) -> None:
        """Takes heads out of the bank: their history stays, their weights go."""
        for number in numbers:
            self._best.pop(number, None)
        self._keep(~np.isin(self._places, numbers))

    def fitted(self, number: int) -> Fitted:
        """History and best epoch of a head, also of one that was dropped.

        Raises:
            ValueError: If it was never trained.
        """
        history, monitor = self.history[number], self.designs[number].fit.monitor
        return Fitted(history, best_epoch(history[monitor], monitor), monitor)

    def head(self, number: int) -> keras.Model:
        """A head as a Keras model with the weights of its best epoch.

        Raises:
            ValueError: If it was dropped, or never trained.
        """
        if number not in self._best:
            raise ValueError(f"expected a trained head that was not dropped, received {number}")
        model = self._build(number)
        for variable, value in zip(_variables(model), self._best[number], strict=True):
            variable.assign(value.T if value.ndim == 2 else value)
        return model

    def state(self) -> dict[str, np.ndarray]:
        """What training goes on from, but for `history`; arrays that numpy can save."""
        stacks = {
            name: [ops.convert_to_numpy(tensor) for tensor in tensors]
            for name, tensors in self._state.items()
        }
        best = {f"best {number}": values for number, values in self._best.items()}
        arrays = {
            f"{name}.{index}": array
            for name, listed in {**stacks, **best}.items()
            for index, array in enumerate(listed)
        }
        progress = {"epochs_done": np.array(self.epochs_done), "seconds": self.seconds.copy()}
        return {**arrays, **progress, "places": self._places}

    def restore(
        self, state: Mapping[str, np.ndarray], history: Sequence[Mapping[str, Sequence[float]]]
    ) -> None:
        """Goes on where another bank of the same designs was.

        Args:
            state: Its `state()`.
            history: Its `history`.
        """
        self._places, self.seconds = state["places"], state["seconds"].copy()
        self.epochs_done = int(state["epochs_done"])
        self.history = [
            {name: list(values) for name, values in columns.items()} for columns in history
        ]
        lists: dict[str, list[np.ndarray]] = {"weights": [], "slots": [], "moving": []}
        for name, array in state.items():  # in the order in which `state` wrote them
            if "." in name:
                lists.setdefault(name.split(".")[0], []).append(array)
        stacks = {
            name: [ops.convert_to_tensor(array) for array in lists.pop(name)]
            for name in ("weights", "slots", "moving")
        }
        self._state = stacks if stacks["weights"] else {}  # empty before the first epoch
        self._best = {int(name.removeprefix("best ")): lists[name] for name in lists}

    def _build(self, number: int) -> keras.Model:
        design = self.designs[number]
        return build_head(
            design.head, *self._statistics, self._shape, self._num_classes, design.fit.seed
        )

    def _initial_state(self) -> dict[str, list]:
        """The weights that Keras's own initializers give each head alone, stacked."""
        heads = []
        for number in self._places.tolist():
            values = [ops.convert_to_numpy(one) for one in _variables(self._build(number))]
            heads.append([value.T if value.ndim == 2 else value for value in values])
        stacks = [ops.convert_to_tensor(np.stack(values)) for values in zip(*heads, strict=True)]
        num_moving = 2 * len(self._architecture.hidden) * self._architecture.batch_norm
        weights, moving = stacks[: len(stacks) - num_moving], stacks[len(stacks) - num_moving :]
        num_slots = SLOTS[self._architecture.optimizer]
        slots = [ops.zeros_like(weight) for weight in weights for _ in range(num_slots)]
        return {"weights": weights, "slots": slots, "moving": moving}

    def _leave_out_stopped(self) -> None:
        stopped = [self._stopped(number) for number in self._places.tolist()]
        training = ~np.array(stopped, bool)
        if training.sum() <= WORTH_SHRINKING * len(training):
            self._keep(training)

    def _stopped(self, number: int) -> bool:
        fit, history = self.designs[number].fit, self.history[number]
        losses, monitored = history["val_loss"], history[fit.monitor]
        if not losses:
            return False
        waited = len(losses) - 1 - best_epoch(monitored, fit.monitor)
        return len(losses) >= fit.epochs or waited >= fit.patience or math.isinf(losses[-1])

    def _keep(self, places: np.ndarray) -> None:
        """Leaves only some heads in the stacks; `places` is a mask over them."""
        if places.all():
            return
        self._places = self._places[places]
        chosen = np.flatnonzero(places).astype(np.int32)
        self._state = {
            name: [ops.take(tensor, chosen, axis=0) for tensor in tensors]
            for name, tensors in self._state.items()
        }

    def _train_epoch(self, batches: ShuffledBatches, labels: np.ndarray) -> list[np.ndarray]:
        """Per head the epoch's mean loss and accuracy, each `(heads,)`."""
        settings, train = _tensors(self._settings()), trainer(self._architecture)
        first_step = self.epochs_done * len(batches)
        totals = [np.zeros(len(self._places)), np.zeros(len(self._places))]
        weights = self._class_weights(labels)
        for chunk in made_ahead(training_chunks(batches, math.prod(self._shape), weights)):
            chunk["rates"] = self._rates(len(batches), first_step, len(chunk["counts"]))
            num_steps = int(np.count_nonzero(chunk["counts"]))
            bounds = np.array([first_step, num_steps], np.int32)
            self._state, sums = train(self._state, settings, *_tensors((chunk, bounds)))
            totals = _added(totals, sums)
            first_step += num_steps
        return [total / len(labels) for total in totals]

    def _settings(self) -> dict[str, np.ndarray]:
        designs = [self.designs[number] for number in self._places]
        vectors = {
            **{name: [getattr(one.fit, name) for one in designs] for name in FIT_VECTORS},
            "penalty": [one.head.resolved_l2 for one in designs],
            "dropout": [one.head.dropout for one in designs],
        }
        mean, deviation = self._mean_and_deviation()
        return {
            **{name: np.array(values, np.float32) for name, values in vectors.items()},
            "seeds": np.array([one.fit.seed % 2**31 for one in designs], np.int32),
            "mean": mean,
            "deviation": deviation,
        }

    def _mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """`(num_features,)` each; Keras's `Normalization` divides by no less than epsilon."""
        mean, variance = self._statistics
        repeated = math.prod(self._shape) // len(mean)
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        return np.tile(mean, repeated), np.tile(deviation, repeated).astype(np.float32)

    def _class_weights(self, labels: np.ndarray) -> np.ndarray:
        """`(num_classes,)` float32: what a row of each class counts."""
        weights = class_weights(labels, self._num_classes, self.designs[0].fit) or {}
        return np.array([weights.get(one, 1) for one in range(self._num_classes)], np.float32)

    def _rates(self, steps_per_epoch: int, first_step: int, num_steps: int) -> np.ndarray:
        fits = [self.designs[number].fit for number in self._places]
        highest = [fit.learning_rate_for(math.prod(self._shape)) for fit in fits]
        falls = [
            plateau_falls(
                self.history[number][fit.monitor],
                fit.monitor.endswith("accuracy"),
                fit.plateau_patience,
            )
            if fit.schedule == "plateau"
            else 0
            for number, fit in zip(self._places.tolist(), fits, strict=True)
        ]
        present = np.array(highest) / 2.0 ** np.array(falls)
        return learning_rates(fits, present, steps_per_epoch, first_step, num_steps)

    def _judge(self, val: Samples) -> list[np.ndarray]:
        """Per head validation loss and accuracy of the images, each `(heads,)`."""
        width = max(self._num_classes, *self._architecture.hidden, 1)
        num_rows = PREDICTION_BYTES // (4 * width * len(self._places))
        judge = scorer(self._architecture, val.views)
        settings = _tensors(self._settings())
        totals = [np.zeros(len(self._places)), np.zeros(len(self._places))]
        for piece in validation_pieces(val, min(1024, num_rows)):
            totals = _added(totals, judge(self._state, settings, _tensors(piece)))
        return [total * val.views / len(val.labels) for total in totals]

    def _note(self, scores: Sequence[np.ndarray], steps_per_epoch: int) -> None:
        """Adds an epoch to the history of heads that have not stopped; keeps the best weights."""
        rates = self._rates(steps_per_epoch, self.epochs_done * steps_per_epoch, 1)
        arrays = None
        for place, number in enumerate(self._places.tolist()):
            if self._stopped(number):
                continue
            history = self.history[number]
            for column, values in zip(COLUMNS, [*scores, *rates], strict=True):
                value = float(values[place])
                history[column].append(value if math.isfinite(value) else math.inf)
            monitor = self.designs[number].fit.monitor
            if best_epoch(history[monitor], monitor) == len(history[monitor]) - 1:
                if arrays is None:
                    tensors = [*self._state["weights"], *self._state["moving"]]
                    arrays = [ops.convert_to_numpy(tensor) for tensor in tensors]
                self._best[number] = [array[place].copy() for array in arrays]


def _variables(head: keras.Model) -> list:
    """A head's variables in the order of the stacks: what is learned, then moving statistics."""
    moving = [
        variable
        for layer in head.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.non_trainable_variables
    ]
    return [*head.trainable_variables, *moving]


def _tensors(values: Any) -> Any:
    return keras.tree.map_structure(ops.convert_to_tensor, values)


def _added(totals: Sequence[np.ndarray], sums: Sequence) -> list[np.ndarray]:
    return [old + ops.convert_to_numpy(new) for old, new in zip(totals, sums, strict=True)]

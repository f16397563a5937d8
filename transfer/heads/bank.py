"""A bank of heads: many heads of one architecture, trained as one stacked model.

A head alone leaves most of a machine idle: its products are narrow and its steps short. Stacked, a
hundred linear heads are one wide product per step, and share every read of the features.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import keras
import numpy as np
from keras import ops

from transfer.backend.compiled import compiled, gradients
from transfer.errors import InputError
from transfer.heads.batches import ShuffledBatches, feature_batches
from transfer.heads.building import HeadOptions, build_head, check_head
from transfer.heads.fitting import FitOptions, Fitted, best_epoch, class_weights
from transfer.heads.samples import Samples
from transfer.heads.schedules import learning_rates, plateau_falls
from transfer.heads.stacked import Architecture, Dropout, forward, losses, probabilities
from transfer.heads.updates import SLOTS, update
from transfer.metrics import SMALLEST_PROBABILITY

CHUNK_BYTES = 2**24
"""Of the batches that the compiled loop gets at a time: enough steps to hide the call."""
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
        adams = self.fit.optimizer in ("adam", "adamw")
        return Architecture(
            hidden=self.head.hidden,
            activation=self.head.activation if self.head.hidden else "linear",
            batch_norm=self.head.batch_norm and bool(self.head.hidden),
            sigmoid=self.head.output == "sigmoid",
            dropout=self.head.dropout > 0,
            optimizer="adam" if adams else self.fit.optimizer,
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
        settings, train = _tensors(self._settings()), _trainer(self._architecture)
        first_step = self.epochs_done * len(batches)
        totals = [np.zeros(len(self._places)), np.zeros(len(self._places))]
        for chunk in _ahead(_chunks(batches, math.prod(self._shape), self._class_weights(labels))):
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
        judge = _scorer(self._architecture, val.views)
        settings = _tensors(self._settings())
        totals = [np.zeros(len(self._places)), np.zeros(len(self._places))]
        for piece in _pieces(val, min(1024, num_rows)):
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


def _ahead(items: Iterator) -> Iterator:
    """Makes the next item in a thread while one is in use."""
    with ThreadPoolExecutor(1, "chunks") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _added(totals: Sequence[np.ndarray], sums: Sequence) -> list[np.ndarray]:
    return [old + ops.convert_to_numpy(new) for old, new in zip(totals, sums, strict=True)]


def _chunks(
    batches: ShuffledBatches, num_features: int, class_weights: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """Yields an epoch's batches some at a time, all of one shape, filled up with a row of theirs.

    Yields:
        `features (steps, rows, num_features)` and `labels (steps, rows)` of each batch,
        `row_weights` likewise, 0 where a row only fills up, and `counts (steps,)` of the others.
    """
    rows = len(batches.chosen(0))
    most = max(1, CHUNK_BYTES // (4 * rows * num_features))
    num_chunks = math.ceil(len(batches) / most)
    steps = math.ceil(len(batches) / num_chunks)
    for first in range(0, len(batches), steps):
        chunk = {
            "features": np.zeros((steps, rows, num_features), np.float32),
            "labels": np.zeros((steps, rows), np.int32),
            "row_weights": np.zeros((steps, rows), np.float32),
            "counts": np.zeros(steps, np.float32),
        }
        for step, index in enumerate(range(first, min(first + steps, len(batches)))):
            features, labels = batches[index]
            count = len(labels)
            # Of a row of zeros the loss might overflow, and NaN times 0 is NaN.
            chunk["features"][step] = features[0].ravel()
            chunk["features"][step, :count] = features.reshape(count, -1)
            chunk["labels"][step, :count] = labels
            chunk["row_weights"][step, :count] = class_weights[labels]
            chunk["counts"][step] = count
        yield chunk


def _pieces(val: Samples, num_samples: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields whole images, all pieces of one shape, filled up with a row of theirs.

    Yields:
        `features (samples, num_features)`, `labels (images,)`, and `mask` likewise, 0 where an
        image only fills up.
    """
    done = 0
    features = val.features
    if isinstance(features, np.ndarray):
        most, found = len(features), iter([features])
    else:
        most, found = features.rows_per_block * val.views, features.blocks()
    most_images = most // val.views
    number = math.ceil(most_images / max(1, num_samples // val.views))
    size = val.views * math.ceil(most_images / number)  # about equal: what fills up costs as much
    for block in found:
        for start in range(0, len(block), size):
            values = block[start : start + size]
            images = len(values) // val.views
            piece = {
                "features": np.zeros((size, math.prod(values.shape[1:])), np.float32),
                "labels": np.zeros(size // val.views, np.int32),
                "mask": np.zeros(size // val.views, np.float32),
            }
            piece["features"][:] = values[0].ravel()
            piece["features"][: len(values)] = values.reshape(len(values), -1)
            piece["labels"][:images] = val.image_labels[done : done + images]
            piece["mask"][:images] = 1
            done += images
            yield piece


@cache
def _trainer(architecture: Architecture) -> Callable:
    return compiled(partial(_train, architecture))


@cache
def _scorer(architecture: Architecture, views: int) -> Callable:
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

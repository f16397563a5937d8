"""Fits a head to features: losses, optimizers, learning-rate schedules, early stopping."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.errors import InputError
from transfer.heads.options import FitOptions

if TYPE_CHECKING:
    import keras

    from transfer.heads.batches import FeatureBatches, StreamedBatches
    from transfer.heads.features import Features

STEPS_PER_EXECUTION = 64
"""Steps that Keras runs without coming back to Python; measured 2.5 times faster than 1."""
PREDICTION_BATCH = 1024
"""Samples of one batch where nothing is learned."""


@dataclass(frozen=True)
class Fitted:
    """What training came to.

    Attributes:
        history: Per epoch: loss, accuracy, val_loss, val_accuracy, learning_rate.
        best_epoch: Index into the history of the epoch whose weights the model now has.
        monitor: The history's column that chose it.
    """

    history: dict[str, list[float]]
    best_epoch: int
    monitor: str

    @property
    def best(self) -> dict[str, float]:
        """The history's row of the best epoch."""
        return {name: values[self.best_epoch] for name, values in self.history.items()}

    def save_csv(self, path: Path) -> None:
        """Writes the history, one line an epoch, epochs counted from 1."""
        lines = ["epoch," + ",".join(self.history)]
        for epoch, row in enumerate(zip(*self.history.values(), strict=True), start=1):
            lines.append(",".join([str(epoch), *(f"{value:.6g}" for value in row)]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def fit_head(
    head: "keras.Model",
    features: "Features",
    labels: np.ndarray,
    val_features: "Features",
    val_labels: np.ndarray,
    options: FitOptions,
    report: Callable[[int, dict[str, float]], None] = lambda epoch, scores: None,
) -> Fitted:
    """Trains a head on features in memory or on disk; the best epoch's weights stay in it.

    Args:
        head: From `build_head`; it is compiled here.
        features: `(samples, ...)` training features, float32 or float16.
        labels: `(samples,)` integers.
        val_features: `(samples, ...)` validation features, likewise.
        val_labels: `(samples,)` integers.
        options: How to train.
        report: Called after each epoch with the number of epochs done and the epoch's scores.

    Returns:
        History and best epoch.

    Raises:
        InputError: If there are no validation rows.
        Exception: Whatever reading features from disk raises.
    """
    check_validation(len(val_labels))
    from transfer.heads.batches import feature_batches

    val_batches = feature_batches(
        val_features, targets(val_labels, head, options), PREDICTION_BATCH
    )
    callbacks = [*fit_callbacks(options), *schedule_callbacks(options), epoch_reporter(report)]
    history = _fit(head, features, labels, options, options.epochs, callbacks, val_batches)
    columns = {name: [float(value) for value in values] for name, values in history.items()}
    return Fitted(columns, best_epoch(columns[options.monitor], options.monitor), options.monitor)


def check_validation(num_rows: int) -> None:
    """Checks that there is something to choose the best epoch by.

    Raises:
        InputError: If there are no validation rows.
    """
    if not num_rows:
        raise InputError(
            "training expects validation images to choose the best epoch, received none; "
            "raise --val-fraction"
        )


def refit_head(
    head: "keras.Model",
    features: "Features",
    labels: np.ndarray,
    options: FitOptions,
    epochs: int,
    report: Callable[[int, dict[str, float]], None] = lambda epoch, scores: None,
) -> None:
    """Trains a new head on training and validation rows together, once the choice is made.

    Source: the linear-probe protocol of Kornblith et al., arXiv 1805.08974: choose on held-out
    rows, then fit on all of them.

    Args:
        head: From `build_head`; the last epoch's weights stay in it.
        features: `(samples, ...)` features of both splits, in memory or on disk.
        labels: `(samples,)` integers.
        options: How the chosen head was trained; its schedule is followed up to `epochs`.
        epochs: The chosen head's best epoch, counted from 1.
        report: As in `fit_head`.

    Raises:
        Exception: Whatever reading features from disk raises.
    """
    _fit(head, features, labels, options, epochs, [epoch_reporter(report)])


def _fit(
    head: "keras.Model",
    features: "Features",
    labels: np.ndarray,
    options: FitOptions,
    epochs: int,
    callbacks: list["keras.callbacks.Callback"],
    val_batches: "FeatureBatches | StreamedBatches | None" = None,
) -> dict[str, list[float]]:
    """Compiles a head and runs its epochs; returns Keras's history."""
    from transfer.heads.batches import reading_errors

    batches = _prepare(head, features, labels, options)
    with reading_errors(batches, val_batches):
        return head.fit(
            batches,
            epochs=epochs,
            validation_data=val_batches,
            class_weight=class_weights(labels, max(2, head.output_shape[-1]), options),
            shuffle=False,  # the batches shuffle by themselves
            callbacks=callbacks,
            verbose=0,
        ).history


def predict_head(head: "keras.Model", features: "Features") -> np.ndarray:
    """What a head says of features, in memory or on disk, of which few are in use at a time.

    Args:
        head: From `build_head`.
        features: `(samples, ...)` float32 or float16.

    Returns:
        `(samples, outputs)` float32 probabilities; one output for a sigmoid head.

    Raises:
        Exception: Whatever reading features from disk raises.
    """
    from transfer.heads.batches import feature_batches, reading_errors

    if not len(features):
        return np.empty((0, head.output_shape[-1]), np.float32)
    no_targets = np.zeros(len(features), np.int8)  # batches come with some; prediction drops them
    batches = feature_batches(features, no_targets, PREDICTION_BATCH)
    with reading_errors(batches):
        return np.asarray(head.predict(batches, verbose=0), np.float32)


def head_logits(head: "keras.Model", features: "Features") -> np.ndarray:
    """What a head's softmax is taken of; probabilities of 0 and 1 would not say it.

    Args:
        head: From `build_head` or `build_linear_head`.
        features: `(samples, ...)` float32 or float16.

    Returns:
        `(samples, num_classes)` float32; of a sigmoid head 0 and its logit, whose softmax is what
        it says of the two classes.
    """
    import keras

    logits = predict_head(keras.Model(head.input, head.get_layer("logits").output), features)
    if logits.shape[1] > 1:
        return logits
    return np.concatenate([np.zeros_like(logits), logits], axis=1)


def _prepare(
    head: "keras.Model", features: "Features", labels: np.ndarray, options: FitOptions
) -> "FeatureBatches | StreamedBatches":
    """Compiles the head and cuts the training rows into batches."""
    import keras

    from transfer.heads.batches import feature_batches

    keras.utils.set_random_seed(options.seed)
    batch_size = options.batch_size_for(len(labels))
    learning_rate = options.learning_rate_for(math.prod(head.input_shape[1:]))
    seed = options.seed if options.shuffle else None
    batches = feature_batches(features, targets(labels, head, options), batch_size, seed)
    compile_model(
        head, options, learning_rate, len(batches), min(len(batches), STEPS_PER_EXECUTION)
    )
    return batches


def compile_model(
    model: "keras.Model",
    options: FitOptions,
    learning_rate: float,
    steps_per_epoch: int,
    steps_per_execution: int = 1,
) -> None:
    """Compiles a classifier or head with the loss that its output asks for.

    Args:
        model: Ends in softmax or sigmoid probabilities.
        options: Optimizer, schedule and smoothing.
        learning_rate: Highest rate of the schedule.
        steps_per_epoch: Gradient steps of one epoch.
        steps_per_execution: Steps run at a time without returning to Python.
    """
    import keras

    sigmoid = model.output_shape[-1] == 1
    if sigmoid:
        loss = keras.losses.BinaryCrossentropy(label_smoothing=options.label_smoothing)
    elif options.label_smoothing:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(
        optimizer=_optimizer(options, learning_rate, steps_per_epoch),
        loss=loss,
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
        jit_compile=keras.backend.backend() == "jax",
    )
    _make_variables_of_training(model, options)


def _make_variables_of_training(model: "keras.Model", options: FitOptions) -> None:
    """Makes the variables of optimizer and metrics, which the first step would make otherwise.

    TensorFlow traces a step that makes variables twice; of large models that takes seconds.
    """
    model.optimizer.build(model.trainable_variables)
    one_row = np.zeros((1, *model.output_shape[1:]), np.float32)
    model.compute_metrics(None, targets(np.zeros(1, int), model, options), one_row)
    model.reset_metrics()


def targets(labels: np.ndarray, model: "keras.Model", options: FitOptions) -> np.ndarray:
    """Labels in the form that the model's loss takes.

    Args:
        labels: `(rows,)` integers.
        model: Head or classifier.
        options: One-hot targets are needed where labels are smoothed.

    Returns:
        `(rows,)` integers, `(rows, 1)` float32 for a sigmoid, or `(rows, num_classes)` one-hot.
    """
    width = model.output_shape[-1]
    if width == 1:
        return labels.astype(np.float32)[:, None]
    if options.label_smoothing:
        return np.eye(width, dtype=np.float32)[labels]
    return labels


def class_weights(
    labels: np.ndarray, num_classes: int, options: FitOptions
) -> dict[int, float] | None:
    """Weights that make the classes count alike, in the form that `fit` takes.

    Source: scikit-learn's `class_weight="balanced"`: rows / (classes * rows of the class).
    """
    if options.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    present = max(1, int((counts > 0).sum()))
    return {
        index: len(labels) / (present * int(count)) if count else 1.0
        for index, count in enumerate(counts)
    }


def _optimizer(
    options: FitOptions, learning_rate: float, steps_per_epoch: int
) -> "keras.optimizers.Optimizer":
    import keras

    rate = _schedule(options, learning_rate, steps_per_epoch)
    decay = options.weight_decay or None
    match options.optimizer:
        case "adam":
            return keras.optimizers.Adam(rate, options.beta_1, options.beta_2, weight_decay=decay)
        case "adamw":
            return keras.optimizers.AdamW(
                rate, options.weight_decay, options.beta_1, options.beta_2
            )
        case "rmsprop":
            return keras.optimizers.RMSprop(rate, weight_decay=decay)
        case _:
            return keras.optimizers.SGD(rate, options.momentum, nesterov=True, weight_decay=decay)


def _schedule(options: FitOptions, learning_rate: float, steps_per_epoch: int) -> object:
    import keras

    schedules = keras.optimizers.schedules
    match options.schedule:
        case "exponential":
            return schedules.ExponentialDecay(
                learning_rate, steps_per_epoch, options.decay, staircase=True
            )
        case "cosine":
            warmup = round(options.warmup_epochs * steps_per_epoch)
            steps = max(1, options.epochs * steps_per_epoch - warmup)
            if not warmup:
                return schedules.CosineDecay(learning_rate, steps)
            return schedules.CosineDecay(
                0.0, steps, warmup_target=learning_rate, warmup_steps=warmup
            )
        case _:
            return learning_rate


def schedule_callbacks(options: FitOptions) -> list["keras.callbacks.Callback"]:
    """The plateau schedule's callback, and one that notes each epoch's rate in the history."""
    import keras

    def note_rate(epoch: int, logs: dict[str, float]) -> None:
        logs["learning_rate"] = float(callback.model.optimizer.learning_rate)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=note_rate)
    if options.schedule != "plateau":
        return [callback]
    falling = keras.callbacks.ReduceLROnPlateau(
        options.monitor, factor=0.5, patience=options.plateau_patience
    )
    return [callback, falling]


def fit_callbacks(options: FitOptions) -> list["keras.callbacks.Callback"]:
    """Early stopping that restores the best epoch, also where training runs to its end."""
    import keras

    return [
        keras.callbacks.EarlyStopping(
            options.monitor, patience=options.patience, restore_best_weights=True
        )
    ]


def epoch_reporter(
    report: Callable[[int, dict[str, float]], None],
) -> "keras.callbacks.Callback":
    """A callback that calls `report(epochs_done, scores)` after each epoch."""
    import keras

    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report(epoch + 1, dict(logs))
    )


def best_epoch(values: Sequence[float], monitor: str) -> int:
    """The first epoch with the best value: highest accuracy or lowest loss."""
    scores = np.asarray(values) if monitor.endswith("accuracy") else -np.asarray(values)
    # As Keras's EarlyStopping: what is no number is never better.
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))

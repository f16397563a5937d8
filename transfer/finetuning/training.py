"""Trains the unfrozen layers of a classifier end to end on pixels."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from transfer.backbones.resizing import resize_pixels
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers
from transfer.finetuning.image_batches import ImageBatches
from transfer.heads.fitting import (
    Fitted,
    best_epoch,
    class_weights,
    compile_model,
    schedule_callbacks,
    targets,
)
from transfer.heads.options import FitOptions
from transfer.images.imageset import ImageSet

LEARNING_RATE = 1e-4
"""Where none is given: low, so that training bends the backbone and does not break it."""


def finetune(
    classifier: keras.Model,
    images: ImageSet,
    options: FitOptions,
    augment: AugmentOptions,
    folder: Path,
    report: Callable[[int, dict[str, float]], None] = lambda images_seen, scores: None,
) -> Fitted:
    """Trains the unfrozen layers of a classifier; the best epoch's weights stay in it.

    An interrupted run, started again with the same folder, goes on after its last whole epoch.

    Args:
        classifier: From `build_classifier`, after `unfreeze`.
        images: Rows of the train split are learned from, those of val choose the epoch.
        options: How to train.
        augment: Random changes to the training images.
        folder: Checkpoints and `finetune-history.csv` go here.
        report: Called after each batch with the number of images seen in this run and the
            scores so far.

    Returns:
        History over all epochs, those before an interruption included, and the best epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    batch_size = options.batch_size_for(int((images.split == "train").sum()))
    backup, history_path = folder / "backup", folder / "finetune-history.csv"
    done = _epochs_done(backup)
    if not done:
        history_path.unlink(missing_ok=True)
    train, val = (
        _image_batches(classifier, images, split, options, batch_size, done)
        for split in ("train", "val")
    )
    model = _training_model(classifier, train.input_size, augment, options.seed)
    compile_model(model, options, options.learning_rate or LEARNING_RATE, len(train))
    best_path = folder / "best.weights.h5"
    model.fit(
        train,
        validation_data=val,
        epochs=options.epochs,
        class_weight=_weights_of(images, classifier, options),
        shuffle=False,  # the batches shuffle by themselves, the same way after a resumption
        callbacks=[
            *schedule_callbacks(options),
            *_callbacks(options, best_path, history_path, backup),
            _batch_reporter(report, batch_size),
        ],
        verbose=0,
    )
    model.load_weights(best_path)
    best_path.unlink()
    shutil.rmtree(backup, ignore_errors=True)
    history = _read_history(history_path)
    return Fitted(history, best_epoch(history[options.monitor], options.monitor), options.monitor)


def _callbacks(
    options: FitOptions, best_path: Path, history_path: Path, backup: Path
) -> list[keras.callbacks.Callback]:
    """What keeps the best weights, stops early, and lets an interrupted run go on."""
    so_far = _read_history(history_path).get(options.monitor)
    best = so_far[best_epoch(so_far, options.monitor)] if so_far else None
    return [
        keras.callbacks.ModelCheckpoint(
            best_path,
            options.monitor,
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=best,
        ),
        keras.callbacks.EarlyStopping(options.monitor, patience=options.patience, baseline=best),
        keras.callbacks.CSVLogger(history_path, append=True),
        keras.callbacks.BackupAndRestore(backup, double_checkpoint=True),
    ]


def _image_batches(
    classifier: keras.Model,
    images: ImageSet,
    split: str,
    options: FitOptions,
    batch_size: int,
    epoch: int,
) -> ImageBatches:
    rows = np.flatnonzero(images.split == split)
    image_size = classifier.get_layer("body").input_shape[1:3]
    wanted = targets(images.labels[rows], classifier, options)
    seed = options.seed if split == "train" and options.shuffle else None
    return ImageBatches(images, rows, wanted, image_size, batch_size, seed, epoch)


def _weights_of(
    images: ImageSet, classifier: keras.Model, options: FitOptions
) -> dict[int, float] | None:
    labels = images.labels[images.split == "train"]
    return class_weights(labels, max(2, classifier.output_shape[-1]), options)


def _training_model(
    classifier: keras.Model, input_size: tuple[int, int], augment: AugmentOptions, seed: int
) -> keras.Model:
    # The same body as in the classifier, so that training it trains the classifier.
    body = classifier.get_layer("body")
    inputs = keras.Input((*input_size, 3), name="images")
    x = resize_pixels(inputs, body.input_shape[1:3])
    for layer in augmentation_layers(augment, seed):
        x = layer(x)
    return keras.Model(inputs, body(x))


def _epochs_done(backup: Path) -> int:
    try:
        return int(json.loads((backup / "training_metadata.json").read_text())["epoch"])
    except (FileNotFoundError, ValueError, KeyError):
        shutil.rmtree(backup, ignore_errors=True)
        return 0


def _read_history(path: Path) -> dict[str, list[float]]:
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        # A run killed between history and backup repeats an epoch: its last line counts.
        lines = {int(line["epoch"]): line for line in csv.DictReader(file)}
    names: Iterator[str] = (name for name in next(iter(lines.values()), {}) if name != "epoch")
    return {name: [float(line[name]) for line in lines.values()] for name in names}


def _batch_reporter(
    report: Callable[[int, dict[str, float]], None], batch_size: int
) -> keras.callbacks.Callback:
    seen = 0

    def count(batch: int, logs: dict[str, float]) -> None:
        nonlocal seen
        seen += batch_size
        report(seen, logs)

    return keras.callbacks.LambdaCallback(on_train_batch_end=count)

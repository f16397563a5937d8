"""Fine-tuning: unfreezes part of a classifier and trains it end to end on pixels."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from transfer.backbones.resizing import resize_pixels
from transfer.errors import InputError
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers
from transfer.heads.batches import ShuffledBatches
from transfer.heads.fitting import (
    FitOptions,
    Fitted,
    best_epoch,
    class_weights,
    compile_model,
    schedule_callbacks,
    targets,
)
from transfer.images.imageset import ImageSet, resize

LEARNING_RATE = 1e-4
"""Where none is given: low, so that training bends the backbone and does not break it."""


def unfreeze(classifier: keras.Model, which: str) -> tuple[int, int]:
    """Chooses which of a classifier's layers train.

    The head always trains. BatchNormalization never does, neither in the backbone nor in the
    head: `trainable = False` is what keeps its moving averages still in `fit`; calling it with
    `training=False` does not (seen on Keras 3.15.1).

    Args:
        classifier: From `build_classifier`.
        which: `"all"`, a number N (the backbone's last N layers, 0 for none), or the name of
            the backbone's first layer to train.

    Returns:
        Number of the backbone's layers that have trainable weights now, and number of layers in
        all.

    Raises:
        InputError: If `which` is neither of these.
    """
    body = classifier.get_layer("body")
    backbone = body.get_layer("backbone")
    first = _first_trainable([layer.name for layer in backbone.layers], which)
    classifier.trainable = True
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= first
    for layer in classifier._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    trained = [layer for layer in backbone.layers if layer.trainable_variables]
    return len(trained), len(backbone.layers)


def _first_trainable(names: list[str], which: str) -> int:
    if which == "all":
        return 0
    if which.isdecimal():
        return max(0, len(names) - int(which))
    if which in names:
        return names.index(which)
    import difflib

    likely = difflib.get_close_matches(which, names, n=4, cutoff=0.4) or names[-4:]
    raise InputError(
        f"--unfreeze expects all, a number of layers or a layer's name, received {which!r}; "
        f"likely names: {', '.join(likely)}"
    )


class ImageBatches(ShuffledBatches):
    """Batches of some rows of an image set, for `fit`.

    Args:
        images: Where the pixels are.
        rows: `(n,)` row numbers.
        targets: `(n, ...)` what the model should say of each.
        image_size: Images of several sizes are resized to it; images of one size that is no
            larger stay as they are, for the model to resize.
        batch_size: Rows of one batch.
        seed: See `ShuffledBatches`.
        epoch: See `ShuffledBatches`.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: np.ndarray,
        targets: np.ndarray,
        image_size: tuple[int, int],
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__(len(rows), batch_size, seed, epoch, workers=2)
        self._images, self._rows, self._targets = images, rows, targets
        self._image_size = image_size
        self._native = common_size(images, rows, image_size)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images in a batch."""
        return self._native or self._image_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`: float32 pixels `(batch, h, w, 3)`, 0-255 RGB, and targets."""
        chosen = self.chosen(index)
        pixels = [self._images.read(int(row)) for row in self._rows[chosen]]
        if self._native is None:
            pixels = [resize(image, self._image_size) for image in pixels]
        return np.stack(pixels).astype(np.float32, copy=False), self._targets[chosen]


def common_size(
    images: ImageSet, rows: np.ndarray, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    """The one size that all rows have, if it is no larger than `image_size`; else None."""
    size: tuple[int, int] | None = None
    for row in rows:
        height, width = images.read(int(row)).shape[:2]
        if size not in (None, (height, width)) or height > image_size[0] or width > image_size[1]:
            return None
        size = (height, width)
    return size


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
    so_far = _read_history(history_path).get(options.monitor)
    model.fit(
        train,
        validation_data=val,
        epochs=options.epochs,
        class_weight=_weights_of(images, classifier, options),
        shuffle=False,  # the batches shuffle by themselves, the same way after a resumption
        callbacks=[
            *schedule_callbacks(options),
            keras.callbacks.ModelCheckpoint(
                best_path,
                options.monitor,
                save_best_only=True,
                save_weights_only=True,
                initial_value_threshold=_best_value(so_far, options.monitor),
            ),
            keras.callbacks.EarlyStopping(
                options.monitor,
                patience=options.patience,
                baseline=_best_value(so_far, options.monitor),
            ),
            keras.callbacks.CSVLogger(history_path, append=True),
            keras.callbacks.BackupAndRestore(backup, double_checkpoint=True),
            _batch_reporter(report, batch_size),
        ],
        verbose=0,
    )
    model.load_weights(best_path)
    best_path.unlink()
    shutil.rmtree(backup, ignore_errors=True)
    history = _read_history(history_path)
    return Fitted(history, best_epoch(history[options.monitor], options.monitor), options.monitor)


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


def _best_value(values: list[float] | None, monitor: str) -> float | None:
    return values[best_epoch(values, monitor)] if values else None


def _batch_reporter(
    report: Callable[[int, dict[str, float]], None], batch_size: int
) -> keras.callbacks.Callback:
    seen = 0

    def count(batch: int, logs: dict[str, float]) -> None:
        nonlocal seen
        seen += batch_size
        report(seen, logs)

    return keras.callbacks.LambdaCallback(on_train_batch_end=count)

"""Training one head by steps on a file's features, and what a head says of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.out_of_fold import OutOfFold
from pipelines.progress import progress
from pipelines.samples import read_samples
from pipelines.setup import Setup
from transfer.backend.startup import import_keras
from transfer.heads.fitting import Fitted, check_validation
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples

if TYPE_CHECKING:
    import keras

    from transfer.metrics import Evaluation


@dataclass(frozen=True)
class TrainingData:
    """The training and validation rows.

    Attributes:
        train: What heads are fitted to.
        val: What they are chosen by.
        mean: `(channels,)` over the training samples.
        variance: `(channels,)` over the training samples.
        num_classes: Number of classes.
    """

    train: Samples
    val: Samples
    mean: np.ndarray
    variance: np.ndarray
    num_classes: int


def read_training_data(
    setup: Setup,
    features: FeatureFile,
    cuts: tuple[str, ...],
    rows: Sequence[np.ndarray] | None = None,
) -> TrainingData:
    """Reads the rows of the train and val splits, or other `rows` to learn from and judge by."""
    import_keras()
    from transfer.heads.features import feature_statistics

    if rows is None:
        split = features_stage.split_of(features, setup.data)
        rows = [np.flatnonzero(split == name) for name in ("train", "val")]
    check_validation(len(rows[1]))
    train, val = read_samples(features, rows, cuts, setup.memory_budget)
    mean, variance = feature_statistics(train.features)
    return TrainingData(train, val, mean, variance, len(features.class_names))


def train(
    data: TrainingData, head: HeadOptions, fit: FitOptions, description: str = "head"
) -> tuple["keras.Model", Fitted]:
    """Builds and fits one head; the model holds the best epoch's weights."""
    from transfer.heads.fitting import fit_head

    model = _built(head, fit, data.train, (data.mean, data.variance), data.num_classes)
    with progress(description, fit.epochs, "epochs") as update:
        fitted = fit_head(
            model,
            data.train.features,
            data.train.labels,
            data.val.features,
            data.val.labels,
            fit,
            lambda epoch, scores: update(epoch, f"val accuracy {scores['val_accuracy']:.4f}"),
        )
    return model, fitted


def _built(
    head: HeadOptions,
    fit: FitOptions,
    train: Samples,
    statistics: tuple[np.ndarray, np.ndarray],
    num_classes: int,
) -> "keras.Model":
    from transfer.heads.building import build_head

    return build_head(head, *statistics, train.features.shape[1:], num_classes, fit.seed)


def score(
    model: "keras.Model", samples: Samples, class_names: tuple[str, ...], split: str
) -> "Evaluation":
    """Scores a head on the images of a split, without smoothing or class weights in the loss.

    What training reports depends on both, and takes each view for an image; these scores can be
    compared between stages.
    """
    from transfer.metrics import evaluate

    return evaluate(predict_samples(model, samples), samples.image_labels, class_names, split)


def predict_samples(model: "keras.Model", samples: Samples) -> np.ndarray:
    """What a head says of each image: `(images, num_classes)` probabilities, mean over views."""
    from transfer.classifier import as_probabilities
    from transfer.heads.fitting import predict_head

    return as_probabilities(samples.mean_over_views(predict_head(model, samples.features)))


def calibrate(model: "keras.Model", samples: Samples) -> float:
    """Has a head's probabilities be true of images that it has not learned from.

    Returns:
        The temperature by which its logits are divided from now on.
    """
    from transfer.choosing.temperature import temperature_of_trained
    from transfer.heads.building import divide_logits
    from transfer.heads.fitting import head_logits

    logits = head_logits(model, samples.features)
    by_view = logits.reshape(-1, samples.views, logits.shape[1])
    temperature = temperature_of_trained(by_view, samples.image_labels)
    divide_logits(model, temperature)
    return temperature


def said_of_validation(
    model: "keras.Model", setup: Setup, features: FeatureFile, val: Samples
) -> OutOfFold:
    """What a head that was fitted to training images says of the validation images."""
    ids = features.ids[features_stage.split_of(features, setup.data) == "val"]
    labels = val.image_labels
    return OutOfFold(ids, labels, np.zeros(len(ids), np.int64), predict_samples(model, val))


def refit(
    setup: Setup,
    features: FeatureFile,
    cuts: tuple[str, ...],
    head: HeadOptions,
    fit: FitOptions,
    epochs: int,
    temperature: float,
) -> "keras.Model":
    """Trains a head anew on the train and val splits together, as calibrated as it was."""
    from transfer.heads.building import divide_logits
    from transfer.heads.features import feature_statistics
    from transfer.heads.fitting import refit_head

    rows = np.flatnonzero(features_stage.split_of(features, setup.data) != "test")
    (both,) = read_samples(features, [rows], cuts, setup.memory_budget)
    statistics = feature_statistics(both.features)
    model = _built(head, fit, both, statistics, len(features.class_names))
    with progress("refit", epochs, "epochs") as update:
        refit_head(model, both.features, both.labels, fit, epochs, lambda epoch, _: update(epoch))
    divide_logits(model, temperature)
    return model

"""The head stage: trains one head on cached features and exports the classifier."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from cache import FeatureFile
from cache.durable import whole_file
from pipelines import features as features_stage
from pipelines.models import CLASSIFIER, HEAD_MODEL, HEAD_RESULT
from pipelines.progress import progress, waiting
from pipelines.results import as_json, write_json
from pipelines.runs import check_replaced, remember
from pipelines.samples import read_samples
from pipelines.setup import Setup
from transfer.backend.startup import import_keras
from transfer.heads.fitting import Fitted, check_validation
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples
from transfer.images.sources import how_split

if TYPE_CHECKING:
    import keras

    from transfer.metrics import Evaluation


@dataclass(frozen=True)
class HeadStage:
    """Train a head on cached features and export backbone and head as one classifier."""

    setup: Setup = field(default_factory=Setup)
    head: HeadOptions = field(default_factory=HeadOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    use_cuts: tuple[str, ...] = ()
    """Cuts that the head sees, of those in the feature file; by default all, joined."""
    refit: bool = False
    """Once the best epoch is known, train a new head on training and validation rows together
    and export that one; it cannot be fine-tuned, for no rows are left to judge by."""


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


def run(stage: HeadStage) -> dict:
    """Trains a head, saves it with its history, and exports the classifier.

    Returns:
        What is also written to `head.json`: scores, options, the features' key.

    Raises:
        InputError: If the run was made from other data.
    """
    check_replaced(stage.setup)
    with features_stage.open_features(stage.setup) as features:
        split = features_stage.split_of(features, stage.setup.data)
        features_stage.say_unjudged("head", features, split, ("val",))
        with waiting("reading the features"):
            data = read_training_data(stage.setup, features, stage.use_cuts)
        started = time.monotonic()
        model, fitted = train(data, stage.head, stage.fit)
        seconds = time.monotonic() - started
        scores = score(model, data.val, features.class_names, "val")
        if stage.refit:
            del data
            model = refit(stage, features, fitted.best_epoch + 1)
        return save(stage, features, model, fitted, scores, seconds)


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


def refit(stage: HeadStage, features: FeatureFile, epochs: int) -> "keras.Model":
    """Trains the chosen head anew on the train and val splits together."""
    from transfer.heads.features import feature_statistics
    from transfer.heads.fitting import refit_head

    split = features_stage.split_of(features, stage.setup.data)
    rows = np.flatnonzero(split != "test")
    (both,) = read_samples(features, [rows], stage.use_cuts, stage.setup.memory_budget)
    statistics = feature_statistics(both.features)
    model = _built(stage.head, stage.fit, both, statistics, len(features.class_names))
    with progress("refit", epochs, "epochs") as update:
        refit_head(
            model, both.features, both.labels, stage.fit, epochs, lambda epoch, _: update(epoch)
        )
    return model


def save(
    stage: HeadStage,
    features: FeatureFile,
    model: "keras.Model",
    fitted: Fitted,
    scores: "Evaluation",
    seconds: float,
) -> dict:
    """Writes head, history, scores and classifier into the run's folder.

    The classifier's file holds all that stages read; with its renaming the new head is there, and
    what is written after it is for people.
    """
    import keras

    from transfer.classifier import model_as_bytes
    from transfer.pictures.curves import plot_history

    # A copy without the optimizer, whose state would travel inside every exported classifier.
    head = keras.Model.from_config(model.get_config())
    head.set_weights(model.get_weights())
    result = _result(stage, features, fitted, scores, seconds)
    members = {HEAD_RESULT: as_json(result).encode(), HEAD_MODEL: model_as_bytes(head)}
    folder = stage.setup.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    cuts = stage.use_cuts or features.cuts
    export(stage.setup, features, cuts, head, folder / CLASSIFIER, members)
    remember(stage, "head")
    with whole_file(folder / HEAD_MODEL) as temporary:
        temporary.write_bytes(members[HEAD_MODEL])
    write_json(folder / HEAD_RESULT, result)
    fitted.save_csv(folder / "head-history.csv")
    plot_history(fitted.history, folder / "head-history.png", best_epoch=fitted.best_epoch)
    print(
        f"head: val accuracy {result['val_accuracy']:.4f}, loss {result['val_loss']:.4f} "
        f"(epoch {result['best_epoch']} of {result['epochs']}) in {seconds:.1f} s, in {folder}"
    )
    if stage.refit:
        print("head: the exported head was trained once more, on train and val rows together")
    return result


def _result(
    stage: HeadStage, features: FeatureFile, fitted: Fitted, scores: "Evaluation", seconds: float
) -> dict:
    """What `head.json` says."""
    return {
        "id": uuid4().hex,
        "features": features.key,
        **how_split(stage.setup.data),
        "backbone": asdict(stage.setup.backbone),
        "cuts": list(stage.use_cuts or features.cuts),
        "class_names": list(features.class_names),
        "best_epoch": fitted.best_epoch + 1,
        "epochs": len(fitted.history["loss"]),
        "seconds": round(seconds, 2),
        "refitted": stage.refit,
        "val_accuracy": scores.accuracy,
        "val_loss": scores.loss,
        "head": asdict(stage.head),
        "fit": asdict(stage.fit),
    }


def export(
    setup: Setup,
    features: FeatureFile,
    cuts: tuple[str, ...],
    head: "keras.Model",
    path: Path,
    members: Mapping[str, bytes],
) -> None:
    """Joins backbone and head into one classifier that takes raw pixels, and saves it.

    Args:
        setup: What the features were made with.
        features: The file that the head was trained on.
        cuts: Those that the head sees.
        head: From the features of one view to probabilities.
        path: Where the classifier goes.
        members: What its file holds as well, by name.
    """
    from transfer.backbones.building import build_backbone
    from transfer.backbones.cuts import cut_backbone
    from transfer.classifier import ClassifierCard, build_classifier, save_classifier

    options = replace(setup.backbone, cut=cuts)
    card = ClassifierCard(
        class_names=features.class_names,
        backbone=features.spec.backbone,
        image_size=options.resolved_image_size(),
        cuts=cuts,
        pooling=options.pooling,
        views=options.views,
    )
    with waiting("exporting the classifier"):
        backbone = cut_backbone(build_backbone(options), cuts)
        save_classifier(build_classifier(backbone, head, options), card, path, members)

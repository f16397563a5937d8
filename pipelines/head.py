"""The head stage: trains one head on cached features and exports the classifier."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.progress import progress, waiting
from pipelines.results import write_json
from pipelines.setup import Setup
from transfer.fitting import FitOptions, Fitted
from transfer.heads import HeadOptions
from transfer.startup import import_keras

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
class TrainingRows:
    """Features and labels of the training and validation rows, in memory.

    Attributes:
        features: `(rows, ...)` training features.
        labels: `(rows,)` int64.
        val_features: `(rows, ...)` validation features.
        val_labels: `(rows,)` int64.
        mean: `(channels,)` over the training rows.
        variance: `(channels,)` over the training rows.
        num_classes: Number of classes.
    """

    features: np.ndarray
    labels: np.ndarray
    val_features: np.ndarray
    val_labels: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    num_classes: int


def run(stage: HeadStage) -> dict:
    """Trains a head, saves it with its history, and exports the classifier.

    Returns:
        What is also written to `head.json`: scores, options, the features' key.
    """
    with features_stage.open_features(stage.setup) as features:
        with waiting("reading the features"):
            rows = read_training_rows(features, stage.use_cuts)
        started = time.monotonic()
        model, fitted = train(rows, stage.head, stage.fit)
        seconds = time.monotonic() - started
        scores = val_scores(model, rows, features.class_names)
        if stage.refit:
            del rows
            model = refit(stage, features, fitted.best_epoch + 1)
        return save(stage, features, model, fitted, scores, seconds)


def read_training_rows(features: FeatureFile, cuts: tuple[str, ...]) -> TrainingRows:
    """Reads the train and val splits; the test split is never touched here."""
    import_keras()
    from transfer.heads import feature_statistics

    train, val = features.rows("train"), features.rows("val")
    train_features = features.read(train, cuts)
    mean, variance = feature_statistics(train_features)
    return TrainingRows(
        train_features,
        features.labels[train],
        features.read(val, cuts),
        features.labels[val],
        mean,
        variance,
        len(features.class_names),
    )


def train(
    rows: TrainingRows, head: HeadOptions, fit: FitOptions, description: str = "head"
) -> tuple["keras.Model", Fitted]:
    """Builds and fits one head; the model holds the best epoch's weights."""
    from transfer.fitting import fit_head
    from transfer.heads import build_head

    shape = rows.features.shape[1:]
    model = build_head(head, rows.mean, rows.variance, shape, rows.num_classes, fit.seed)
    with progress(description, fit.epochs, "epochs") as update:
        fitted = fit_head(
            model,
            rows.features,
            rows.labels,
            rows.val_features,
            rows.val_labels,
            fit,
            lambda epoch, scores: update(epoch, f"val accuracy {scores['val_accuracy']:.4f}"),
        )
    return model, fitted


def val_scores(
    model: "keras.Model", rows: TrainingRows, class_names: tuple[str, ...]
) -> "Evaluation":
    """Scores a head on the validation rows, without smoothing or class weights in the loss.

    What training reports depends on both; these scores can be compared between stages.
    """
    from transfer.classifier import as_probabilities
    from transfer.metrics import evaluate

    probabilities = as_probabilities(model.predict(rows.val_features, batch_size=1024, verbose=0))
    return evaluate(probabilities, rows.val_labels, class_names, "val")


def refit(stage: HeadStage, features: FeatureFile, epochs: int) -> "keras.Model":
    """Trains the chosen head anew on the train and val splits together."""
    from transfer.fitting import refit_head
    from transfer.heads import build_head, feature_statistics

    rows = np.flatnonzero(features.split != "test")
    values = features.read(rows, stage.use_cuts)
    statistics = feature_statistics(values)
    num_classes = len(features.class_names)
    model = build_head(stage.head, *statistics, values.shape[1:], num_classes, stage.fit.seed)
    with progress("refit", epochs, "epochs") as update:
        labels = features.labels[rows]
        refit_head(model, values, labels, stage.fit, epochs, lambda epoch, _: update(epoch))
    return model


def save(
    stage: HeadStage,
    features: FeatureFile,
    model: "keras.Model",
    fitted: Fitted,
    scores: "Evaluation",
    seconds: float,
) -> dict:
    """Writes head, history, scores and classifier into the run's folder."""
    import keras

    from transfer.plots import plot_history

    # A copy without the optimizer, whose state would travel inside every exported classifier.
    head = keras.Model.from_config(model.get_config())
    head.set_weights(model.get_weights())
    folder = stage.setup.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    cuts = stage.use_cuts or features.cuts
    head.save(folder / "head.keras")
    fitted.save_csv(folder / "head-history.csv")
    plot_history(fitted.history, folder / "head-history.png", best_epoch=fitted.best_epoch)
    export(stage.setup, features, cuts, head, folder / "classifier.keras")
    result = {
        "features": features.key,
        "cuts": list(cuts),
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
    write_json(folder / "head.json", result)
    print(
        f"head: val accuracy {result['val_accuracy']:.4f}, loss {result['val_loss']:.4f} "
        f"(epoch {result['best_epoch']} of {result['epochs']}) in {seconds:.1f} s, in {folder}"
    )
    if stage.refit:
        print("head: the exported head was trained once more, on train and val rows together")
    return result


def export(
    setup: Setup,
    features: FeatureFile,
    cuts: tuple[str, ...],
    head: "keras.Model",
    path: Path,
) -> None:
    """Joins backbone and head into one classifier that takes raw pixels, and saves it."""
    from transfer.backbones import build_backbone, cut_backbone
    from transfer.classifier import ClassifierCard, build_classifier, save_classifier

    options = replace(setup.backbone, cut=cuts)
    card = ClassifierCard(
        class_names=features.class_names,
        backbone=features.spec.backbone,
        image_size=options.resolved_image_size(),
        cuts=cuts,
        pooling=options.pooling,
    )
    with waiting("exporting the classifier"):
        backbone = cut_backbone(build_backbone(options), cuts)
        save_classifier(build_classifier(backbone, head, options), card, path)

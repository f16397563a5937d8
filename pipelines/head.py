"""The head stage: chooses or trains one head on cached features and exports the classifier."""

import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.heads import choosing
from pipelines.heads.saving import NewHead, save
from pipelines.heads.training import (
    calibrate,
    read_training_data,
    refit,
    said_of_validation,
    train,
)
from pipelines.progress import waiting
from pipelines.runs import check_replaced, remember
from pipelines.setup import Setup
from transfer.heads.fitting import Fitted
from transfer.heads.options import FitOptions, HeadOptions


@dataclass(frozen=True)
class HeadStage:
    """Put a head on cached features and export backbone and head as one classifier.

    Without options about the head, penalised linear heads on the top and on more and more cuts are
    compared by cross-validation, and the best is taken. With any of them, that head is trained.
    """

    setup: Setup = field(default_factory=Setup)
    head: HeadOptions = field(default_factory=HeadOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    use_cuts: tuple[str, ...] = ()
    """Cuts that the head sees, of those in the feature file; by default all: a trained head sees
    them joined, a chosen one as many of the last as are of use."""
    refit: bool = False
    """Fit the head that is exported to training and validation images together. A head that is
    chosen is so by itself, unless the validation split was given; one that is trained is trained
    anew, for as long as was best, and cannot be fine-tuned."""

    choose: bool = False
    """Choose a head, whatever a recipe or the run says about it."""

    def with_nothing_said(self) -> "HeadStage":
        """As it is where nothing is said about the head or its training."""
        return replace(self, head=HeadOptions(), fit=FitOptions(), choose=False)


def run(stage: HeadStage) -> dict:
    """Chooses or trains a head, saves it, and exports the classifier.

    Returns:
        What is also written to `head.json`: scores, options, the features' key.

    Raises:
        InputError: If the run was made from other data.
    """
    check_replaced(stage.setup)
    if stage.choose:
        stage = stage.with_nothing_said()
    with features_stage.open_features(stage.setup) as features:
        split = features_stage.split_of(features, stage.setup.data)
        features_stage.say_unjudged("head", features, split, ("val",))
        new = _chosen(stage, features, split) or _trained(stage, features)
        result = save(stage.setup, features, new)
    remember(stage, "head")
    _say(result, stage)
    return result


def _chosen(stage: HeadStage, features: FeatureFile, split: np.ndarray) -> NewHead | None:
    """A linear head; None if another is asked for, or none can be chosen."""
    if stage != stage.with_nothing_said():
        return None
    chosen = choosing.choose(stage.setup, features, split, stage.use_cuts, stage.refit)
    if chosen is None:
        print("head: to choose one takes the features in memory, so one is trained instead")
        return None
    choosing.show(chosen)
    return choosing.new_head(stage.setup, features, split, chosen)


def _trained(stage: HeadStage, features: FeatureFile) -> NewHead:
    """A head trained by steps, with the options given."""
    with waiting("reading the features"):
        data = read_training_data(stage.setup, features, stage.use_cuts)
    started = time.monotonic()
    model, fitted = train(data, stage.head, stage.fit)
    seconds = time.monotonic() - started
    temperature = calibrate(model, data.val)
    said = said_of_validation(model, stage.setup, features, data.val)
    if stage.refit:
        del data
        model = refit(
            stage.setup,
            features,
            stage.use_cuts,
            stage.head,
            stage.fit,
            fitted.best_epoch + 1,
            temperature,
        )
    notes = notes_of(fitted, stage.head, stage.fit, stage.refit, temperature)
    cuts = stage.use_cuts or features.cuts
    return NewHead(
        model,
        cuts,
        said.scores(features.class_names, "val"),
        notes,
        seconds,
        fitted=fitted,
        temperature=temperature,
        out_of_fold=said,
    )


def notes_of(
    fitted: Fitted, head: HeadOptions, fit: FitOptions, refitted: bool, temperature: float
) -> dict[str, Any]:
    """What `head.json` says of a head that was trained by steps."""
    return {
        "best_epoch": fitted.best_epoch + 1,
        "epochs": len(fitted.history["loss"]),
        "refitted": refitted,
        "temperature": temperature,
        "head": asdict(head),
        "fit": asdict(fit),
    }


def _say(result: dict, stage: HeadStage) -> None:
    scores = f"val accuracy {result['val_accuracy']:.4f}, loss {result['val_loss']:.4f}"
    folder, seconds = stage.setup.run_folder, result["seconds"]
    if "chosen" not in result:
        epochs = f"epoch {result['best_epoch']} of {result['epochs']}"
        print(f"head: {scores} ({epochs}) in {seconds:.1f} s, in {folder}")
        temperature = result["temperature"]
        if temperature != 1:
            print(f"head: calibrated on the validation images, logits divided by {temperature:.2f}")
        if stage.refit:
            print("head: the exported head was trained once more, on train and val rows together")
        return
    chosen = result["chosen"]
    out_of_fold = "on images not seen" if chosen["folds"] == 1 else "cross-validated"
    print(
        f"head: {out_of_fold} accuracy {chosen['accuracy']:.4f} +- {chosen['accuracy_error']:.4f}, "
        f"log loss {chosen['loss']:.4f} +- {chosen['loss_error']:.4f}, in {folder}"
    )
    if result["refitted"]:
        print(
            "head: fitted to training and validation images; the fit to training images alone, "
            f"for fine-tuning: {scores}"
        )

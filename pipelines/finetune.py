"""The fine-tuning stage: from backbone and trained head, end to end on pixels."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureFile
from pipelines.features import open_features, split_of, val_is_given
from pipelines.models import FINETUNE_RESULT, FINETUNED, has_training_head, load_to_tune, read_head
from pipelines.progress import progress, waiting
from pipelines.results import as_json, write_json
from pipelines.scoring import engine_for, predict_images, rank
from pipelines.setup import Setup, flags_for
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.extraction.engines import Precision
from transfer.finetuning.augmentation import AugmentOptions
from transfer.heads.fitting import Fitted, check_validation
from transfer.heads.options import FitOptions
from transfer.images.imageset import ImageSet
from transfer.images.sources import how_split, load_as_given

if TYPE_CHECKING:
    import keras

    from transfer.classifier import ClassifierCard
    from transfer.extraction.keras_engine import KerasEngine

PARITY = 5e-3
"""Largest difference in mean validation loss between the cached head and the classifier."""


@dataclass(frozen=True)
class FinetuneStage:
    """Unfreeze part of the backbone and train the classifier end to end on pixels."""

    setup: Setup = field(default_factory=Setup)
    unfreeze: str = "all"
    """all, the number of the backbone's last layers, or the name of the first layer to train."""
    fit: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=5, batch_size=32, learning_rate=1e-4, patience=3, warmup_epochs=0.5
        )
    )
    augment: AugmentOptions = field(default_factory=AugmentOptions)


def run(stage: FinetuneStage) -> dict:
    """Fine-tunes the run's classifier, saves it and its scores before and after.

    Returns:
        What is also written to `finetune.json`.

    Raises:
        InputError: If no head was trained for these features, or the classifier's validation
            score is not that of the cached head.
    """
    import_keras()
    folder = stage.setup.run_folder
    head = _head_to_start_from(folder)
    with open_features(stage.setup) as features:
        check_trained_on(features, head, stage.setup)
        images = load_rows_of(features, stage.setup)
    classifier, card = load_to_tune(folder, head)
    val = images.subset(np.flatnonzero(images.split == "val"))
    check_validation(len(val))
    engine = engine_for(classifier, val)  # to compile a large classifier takes seconds
    before = _score(classifier, val, engine)
    _check_parity(before, head, stage.setup.precision)
    trained = _unfreeze(classifier, stage.unfreeze)
    checkpoints = folder / "finetune-checkpoints"
    _forget_other_setups(checkpoints, stage, head)
    started = time.monotonic()
    fitted = _train(stage, classifier, images, checkpoints)
    seconds = time.monotonic() - started
    engine.weights_have_changed()
    after = _score(classifier, val, engine)
    result = {
        "head_id": head["id"],
        "before": before,
        "after": after,
        "best_epoch": fitted.best_epoch + 1,
        "epochs": len(fitted.history["loss"]),
        "seconds": round(seconds, 1),
        "trained_layers": trained,
        "options": asdict(stage) | {"setup": None},
    }
    _save(folder, classifier, card, fitted, result)
    shutil.rmtree(checkpoints)
    _say(result, folder)
    return result


def _head_to_start_from(folder: Path) -> dict:
    """What is known of the run's head.

    Raises:
        InputError: If there is none, or no rows are left to judge by.
    """
    head = read_head(folder)
    if head["refitted"] and not has_training_head(head):
        raise InputError(
            f"the head in {folder} was refitted on the validation images, which fine-tuning needs "
            "to judge itself by; train it again with --no-refit"
        )
    return head


def _unfreeze(classifier: "keras.Model", which: str) -> int:
    """Chooses what trains, and says so; returns how many of the backbone's layers do."""
    from transfer.finetuning.unfreezing import unfreeze

    trained, layers = unfreeze(classifier, which)
    print(f"finetune: training {trained} of {layers} backbone layers and the head")
    return trained


def _train(
    stage: FinetuneStage, classifier: "keras.Model", images: ImageSet, checkpoints: Path
) -> Fitted:
    from transfer.finetuning.training import finetune

    num_train = int((images.split == "train").sum())
    with progress("finetune", stage.fit.epochs * num_train) as update:
        return finetune(
            classifier,
            images,
            stage.fit,
            stage.augment,
            checkpoints,
            lambda seen, scores: update(seen, f"accuracy {scores['accuracy']:.4f}"),
        )


def _save(
    folder: Path,
    classifier: "keras.Model",
    card: "ClassifierCard",
    fitted: Fitted,
    result: dict,
) -> None:
    from transfer.classifier import save_classifier
    from transfer.pictures.curves import plot_history

    members = {FINETUNE_RESULT: as_json(result).encode()}
    save_classifier(classifier, card, folder / FINETUNED, members)
    write_json(folder / FINETUNE_RESULT, result)
    fitted.save_csv(folder / "finetune-history.csv")
    plot_history(fitted.history, folder / "finetune-history.png", best_epoch=fitted.best_epoch)


def _say(result: dict, folder: Path) -> None:
    before, after = result["before"], result["after"]
    print(
        f"finetune: val accuracy {before['val_accuracy']:.4f} before, "
        f"{after['val_accuracy']:.4f} after, in {result['seconds']:.1f} s, "
        f"in {folder / FINETUNED}"
    )
    if rank(after) >= rank(before):
        print(
            "finetune: no better than the frozen backbone, so predict goes on with "
            "classifier.keras; try more --epochs, another --learning-rate or --unfreeze"
        )


def check_trained_on(features: FeatureFile, head: dict, setup: Setup) -> None:
    """Refuses a head that was trained on other features, or on other rows of them.

    Raises:
        InputError: If the head's key is not that of the features, or the rows of its splits were
            carved out by other shares, groups or rules.
    """
    folder = setup.run_folder
    if features.key != head["features"]:
        flags = flags_for(head.get("backbone", {}), setup.backbone)
        cure = f"give {flags}" if flags else "train a head for these, or use another --run"
        raise InputError(
            f"the head in {folder} was trained on features {head['features'][:16]}, the options "
            f"given ask for {features.key[:16]}; {cure}"
        )
    if val_is_given(features):  # nothing is carved
        return
    given = how_split(setup.data)
    trained = {name: head.get(name) for name in given}
    if trained["split_rule"] != given["split_rule"]:
        raise InputError(
            f"the head in {folder} was trained on splits of rule {trained['split_rule'] or 1}, by "
            f"which other images are for testing than by rule {given['split_rule']} of now; "
            "train it again"
        )
    if trained != given:
        raise InputError(
            f"the head in {folder} was trained with {_in_words(trained)}, received "
            f"{_in_words(given)}; give the same, or train it again"
        )


def _in_words(split: dict) -> str:
    group = "no --group" if split["group"] is None else f"--group {split['group']}"
    shares = f"--val-fraction {split['val_fraction']} --test-fraction {split['test_fraction']}"
    seed = f" --split-seed {split['split_seed']}" if split["split_seed"] else ""
    return f"{shares}{seed} and {group}"


def load_rows_of(features: FeatureFile, setup: Setup) -> ImageSet:
    """The images of the rows of a feature file, in its order.

    Raises:
        InputError: If the file's ids, labels and class names are not those of the data given.
    """
    with waiting("listing the images"):
        images = load_as_given(setup.data)
    images = images.subset(np.flatnonzero(np.isin(images.ids, features.ids)))
    if not (
        np.array_equal(images.ids, features.ids)
        and np.array_equal(images.labels, features.labels)
        and images.class_names == features.class_names
    ):
        raise InputError(
            "the feature file's ids, labels and classes are not those of the data given; "
            "run `transfer features` again"
        )
    return replace(images, split=split_of(features, setup.data))


def _score(classifier: "keras.Model", val: ImageSet, engine: "KerasEngine") -> dict[str, float]:
    from transfer.metrics import evaluate

    probabilities = predict_images(classifier, val, "validating", engine=engine)
    scores = evaluate(probabilities, val.labels, val.class_names, "val")
    return {"val_accuracy": scores.accuracy, "val_loss": scores.loss}


def _check_parity(before: dict[str, float], head: dict, precision: Precision) -> None:
    print(
        f"finetune: val accuracy {before['val_accuracy']:.4f} from pixels, "
        f"{head['val_accuracy']:.4f} from cached features"
        + ("" if precision == "float32" else f" of {precision}")
    )
    # The classifier computes in float32, so that coarser features may differ by more.
    if precision == "float32" and abs(before["val_loss"] - head["val_loss"]) > PARITY:
        raise InputError(
            f"the classifier's validation loss is {before['val_loss']:.4f} from pixels and "
            f"{head['val_loss']:.4f} from cached features; expected the same, so features and "
            "pixels do not belong together: run `transfer head` again"
        )


def _forget_other_setups(checkpoints: Path, stage: FinetuneStage, head: dict) -> None:
    # A checkpoint is gone on with only if every option is as it was.
    wanted = json.dumps([asdict(stage), head], default=str, sort_keys=True)
    marker = checkpoints / "setup.json"
    if checkpoints.exists() and (not marker.exists() or marker.read_text() != wanted):
        print("finetune: options differ from those of the interrupted run, starting anew")
        shutil.rmtree(checkpoints)
    elif checkpoints.exists():
        print("finetune: going on after the last whole epoch of the interrupted run")
    checkpoints.mkdir(parents=True, exist_ok=True)
    marker.write_text(wanted)

"""The fine-tuning stage: from backbone and trained head, end to end, as far as it is of use."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureFile
from pipelines.features import open_features, split_of, val_is_given
from pipelines.finetuning import prefix, report
from pipelines.finetuning.folds import Fold, folds_of
from pipelines.finetuning.inputs import Inputs, Pixels, StoredPrefix
from pipelines.finetuning.interrupted import Checkpoints
from pipelines.finetuning.judging import Trainings
from pipelines.finetuning.saving import save
from pipelines.finetuning.unfreezing import what_to_unfreeze
from pipelines.models import CLASSIFIER, has_training_head, load_to_tune, read_head
from pipelines.progress import waiting
from pipelines.samples import memory_for
from pipelines.setup import Setup, flags_for
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.finetuning.augmentation import AugmentOptions
from transfer.finetuning.options import FinetuneOptions
from transfer.heads.fitting import check_validation
from transfer.images.imageset import ImageSet
from transfer.images.sources import how_split

if TYPE_CHECKING:
    import keras

    from transfer.classifier import ClassifierCard
    from transfer.finetuning.unfreezing import Unfrozen


@dataclass(frozen=True)
class FinetuneStage:
    """Unfreeze part of the backbone, train it with the head, and go as far as images not seen say.

    Where going nowhere is best, the classifier with the frozen backbone stays.
    """

    setup: Setup = field(default_factory=Setup)
    unfreeze: str = "auto"
    """auto, all, norm (scales and offsets of all norms), head, blocks:N (the last N blocks, see
    `transfer backbones show`), the name of a block or layer, for it and all behind it, or the
    number of the last layers."""
    prefix_cache: bool = True
    """Keep what the frozen part in front makes of the images, in a few fixed views in place of
    random changes, where that is possible, fits into memory and saves time."""
    fit: FinetuneOptions = field(default_factory=FinetuneOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)


def run(stage: FinetuneStage) -> dict:
    """Fine-tunes the run's classifier, and saves it if it became better.

    Returns:
        What is also written to `finetune.json`.

    Raises:
        InputError: If no head was trained for these features, the classifier's scores are not
            those of the cached head, or a training diverges.
    """
    import_keras()
    from transfer.finetuning.tuning import DivergedError

    folder = stage.setup.run_folder
    head = _head_to_start_from(folder)
    started = time.monotonic()
    with open_features(stage.setup) as features:
        check_trained_on(features, head, stage.setup)
        split = split_of(features, stage.setup.data)
        folds = folds_of(stage.setup, features, split, head)
        check_validation(len(folds[0].judging))
        classifier, card = _load(folder, head, folds)
        stage = _resolved(stage, classifier)
        unfrozen = _unfreeze(classifier, stage.unfreeze)
        frozen = _frozen_weights(classifier)
        images = load_rows_of(features, stage.setup)
        inputs = _inputs(stage, classifier, card, unfrozen, features, images, folds)
        labels, names = features.labels, features.class_names
    anything = replace(stage, fit=replace(stage.fit, learning_rate=None))
    wanted = [asdict(anything), head["id"], inputs.in_words]
    checkpoints = Checkpoints(folder, wanted, stage.fit.learning_rate)
    body = classifier.get_layer("body")
    trainings = Trainings(inputs, labels, len(names), body, unfrozen.depths, folds, stage.fit)
    rate = _rate(trainings, stage.fit.learning_rate, checkpoints)
    try:
        judged = trainings.judge(rate, checkpoints, stage.setup.precision == "float32")
    except DivergedError as error:
        checkpoints.note_divergence(min(rate, error.rate) or rate)
        raise
    _check_frozen(classifier, frozen)
    seconds = time.monotonic() - started
    options = asdict(stage) | {"setup": None}
    result = report.result_of(judged, head, unfrozen, inputs, options, seconds)
    save(folder, classifier, card, trainings, judged, result, images)
    checkpoints.remove()
    report.say(judged, result, folder)
    report.save_history(judged, folder / "finetune-history.csv")
    report.draw(judged, images, folder)
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


def _load(folder: Path, head: dict, folds: list[Fold]) -> "tuple[keras.Model, ClassifierCard]":
    """The classifier that is moved: as it is where folds judge, else without validation images."""
    from transfer.classifier import load_classifier

    if folds[0].start is None:
        return load_to_tune(folder, head)
    return load_classifier(folder / CLASSIFIER)


def _resolved(stage: FinetuneStage, classifier: "keras.Model") -> FinetuneStage:
    """The stage with what trains chosen, and why printed."""
    if stage.unfreeze != "auto":
        return stage
    which, why = what_to_unfreeze(classifier)
    print(f"finetune: --unfreeze {which}, {why}")
    return replace(stage, unfreeze=which)


def _unfreeze(classifier: "keras.Model", which: str) -> "Unfrozen":
    """Chooses what trains, and says so."""
    from transfer.finetuning.unfreezing import unfreeze

    unfrozen = unfreeze(classifier, which)
    print(f"finetune: training {unfrozen.in_words}, {unfrozen.parameters:,} numbers")
    return unfrozen


def _inputs(
    stage: FinetuneStage,
    classifier: "keras.Model",
    card: "ClassifierCard",
    unfrozen: "Unfrozen",
    features: FeatureFile,
    images: ImageSet,
    folds: list[Fold],
) -> Inputs:
    """Pixels, or the stored outputs of the prefix where that pays or is asked for."""
    from transfer.finetuning.suffix import divide

    setup = stage.setup
    memory = memory_for(setup.memory_budget)
    reason = prefix.why_not(unfrozen.place, card.views, stage.augment)
    if stage.prefix_cache and reason:
        print(f"finetune: from pixels, since {reason}")
    if stage.prefix_cache and not reason:
        views = prefix.views_of(stage.augment)
        backbone = classifier.get_layer("body").get_layer("backbone")
        division = divide(backbone, unfrozen.place or "")
        learned = sum(len(fold.learning) for fold in folds) / len(features)
        passes = learned * stage.fit.epochs
        worth = prefix.worth_of(classifier, division, features, views, passes)
        if worth.saved > worth.made and worth.num_bytes <= memory:
            print(f"finetune: {worth.in_words(division.place)}")
            outputs = prefix.read_outputs(setup, features, division, views)
            return StoredPrefix(classifier, division, card.pooling, outputs)
    return Pixels(classifier, images, stage.augment, stage.fit.seed, int(memory))


def _rate(trainings: Trainings, given: float | None, checkpoints: Checkpoints) -> float:
    limit = checkpoints.limit()
    if given is not None:
        return given
    rate = checkpoints.known("rate")
    if rate is None:
        rate = trainings.rate(limit)
        checkpoints.remember("rate", rate)
    print(f"finetune: learning rate {rate:.2g}, found by a short test")
    return rate


def _frozen_weights(classifier: "keras.Model") -> dict[str, np.ndarray]:
    trained = {id(variable) for variable in classifier.trainable_variables}
    return {
        variable.path: np.array(variable)
        for variable in classifier.weights
        if id(variable) not in trained
    }


def _check_frozen(classifier: "keras.Model", before: dict[str, np.ndarray]) -> None:
    """Makes sure that what was not to train is as before, statistics of norms above all."""
    after = _frozen_weights(classifier)
    changed = [path for path in before if not np.array_equal(before[path], after[path])]
    if changed:
        raise RuntimeError(
            f"expected frozen weights to stay, {len(changed)} changed: {changed[:3]}"
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
        images = setup.images()
    images = images.with_ids(features.ids)
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

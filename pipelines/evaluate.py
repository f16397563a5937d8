"""The evaluation stage: scores and pictures of one or several classifiers, side by side."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.auditing.leaks import leaked_rows, scores_without
from pipelines.classifiers import network_of, open_classifier
from pipelines.evaluating.pictures import draw
from pipelines.evaluating.predictions import Predictions, save_predictions
from pipelines.evaluating.tables import print_tables
from pipelines.evaluating.thresholds import told_thresholds
from pipelines.features import open_features, say_unjudged, split_of
from pipelines.finetune import check_trained_on, load_rows_of
from pipelines.heads.training import predict_samples
from pipelines.model_names import HEAD, TUNED, named
from pipelines.models import CLASSIFIER, FINETUNED, load_head, read_finetuned, tuned_id
from pipelines.results import write_json
from pipelines.samples import read_samples
from pipelines.scoring import Classifier, as_seen_by, predict_images
from pipelines.setup import Setup
from transfer.calibration import Aim, read_aim
from transfer.classifier import read_card
from transfer.errors import InputError
from transfer.extraction.engines import EngineKind
from transfer.metrics import evaluate

if TYPE_CHECKING:
    from transfer.classifier import ClassifierCard


@dataclass(frozen=True)
class EvaluateStage:
    """Score the run's head and fine-tuned classifier, and other classifiers if named."""

    setup: Setup = field(default_factory=Setup)
    split: Literal["test", "val", "train"] = "test"
    """Rows to score; test is for the last word, not for choosing."""
    models: tuple[Path, ...] = ()
    """Saved classifiers to score as well, on the same rows, with the same classes."""
    pictures: bool = True
    """Draw confusion, reliability, architecture and a grid of predictions."""
    threshold_for: str | None = None
    """precision=0.95 or recall=0.9: also tell from which probability on each class is so sure,
    chosen by images that the model has not seen, out of fold or for validation; with --split
    test alone, whose images chose nothing."""


def run(stage: EvaluateStage) -> dict:
    """Evaluates, prints a table, and writes `evaluation-<split>.json`, `.npz` and pictures.

    Returns:
        What is also written: per model accuracy, top-5, loss, per-class scores, confusion.

    Raises:
        InputError: If there is no head yet, or the split has no rows.
    """
    aim = _aim(stage)
    folder = stage.setup.run_folder
    head, model = load_head(folder)
    with open_features(stage.setup) as features:
        check_trained_on(features, head, stage.setup)
        split = split_of(features, stage.setup.data)
        rows = np.flatnonzero(split == stage.split)
        if not len(rows):
            raise InputError(
                f"--split {stage.split} has no images in this data; choose another split, "
                "or carve one with --val-fraction or --test-fraction"
            )
        say_unjudged("evaluate", features, split, (stage.split,))
        (samples,) = read_samples(features, [rows], tuple(head["cuts"]), stage.setup.memory_budget)
        probabilities = {HEAD: predict_samples(model, samples)}
        tuned = read_finetuned(folder, head, "evaluate")
        paths = named({TUNED: folder / FINETUNED} if tuned is not None else {}, stage.models)
        images = None
        if paths or stage.pictures:
            images = load_rows_of(features, stage.setup).subset(rows)
        names, labels, ids = features.class_names, features.labels[rows], features.ids[rows]
        key = features.key
        leaked = leaked_rows(folder, features, split, stage.split)
    engine = stage.setup.engine
    opened = {name: _load(path, names, engine) for name, path in paths.items()}
    for name, (classifier, card) in opened.items():
        assert images is not None
        theirs = as_seen_by(card, images)
        probabilities[name] = predict_images(classifier, theirs, f"evaluating {name}")
    temperatures = {name: card.temperature for name, (_, card) in opened.items()}
    temperatures[HEAD] = read_card(folder / CLASSIFIER).temperature
    evaluations = {
        name: evaluate(said, labels, names, stage.split, temperatures[name])
        for name, said in probabilities.items()
    }
    print_tables(evaluations, temperatures)
    result: dict[str, Any] = {
        "split": stage.split,
        "models": {name: scores.to_json() for name, scores in evaluations.items()},
        **scores_without(leaked, probabilities, labels),
    }
    if aim is not None:
        files = {HEAD: folder / CLASSIFIER, **paths}
        result["thresholds"] = told_thresholds(aim, files, probabilities, labels, names)
    pictured = images if stage.pictures else None
    if pictured is not None:
        opened = {HEAD: _load(folder / CLASSIFIER, names, engine), **opened}
        result["networks"] = {name: network_of(one) for name, (one, _) in opened.items()}
    save_predictions(
        folder,
        Predictions(
            stage.split,
            key,
            head["id"],
            ids,
            labels,
            np.array(names),
            probabilities,
            tuned_id(tuned),
        ),
    )
    write_json(folder / f"evaluation-{stage.split}.json", result)
    if pictured is not None:
        classifiers = {name: classifier for name, (classifier, _) in opened.items()}
        draw(folder, classifiers, pictured, probabilities, evaluations, temperatures)
    print(f"evaluate: scores and pictures in {folder}")
    return result


def _aim(stage: EvaluateStage) -> Aim | None:
    if stage.threshold_for is None:
        return None
    aim = read_aim(stage.threshold_for)
    if stage.split != "test":
        raise InputError(
            f"--threshold-for expects --split test, received {stage.split}, whose images have "
            "chosen the thresholds or have been learned from"
        )
    return aim


def _load(
    path: Path, class_names: tuple[str, ...], engine: EngineKind
) -> "tuple[Classifier, ClassifierCard]":
    classifier, card = open_classifier(path, engine, lambda text: print(f"evaluate: {text}"))
    if card.class_names != class_names:
        raise InputError(
            f"{path} expects the classes {', '.join(card.class_names)}, "
            f"the data has {', '.join(class_names)}; choose a classifier of this data"
        )
    return classifier, card

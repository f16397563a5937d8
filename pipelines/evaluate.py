"""The evaluation stage: scores and pictures of one or several classifiers, side by side."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.auditing.leaks import leaked_rows, scores_without
from pipelines.features import open_features, say_unjudged, split_of
from pipelines.finetune import check_trained_on, load_rows_of
from pipelines.heads.training import predict_samples
from pipelines.model_names import named, picture_names
from pipelines.models import CLASSIFIER, FINETUNED, load_head, read_finetuned
from pipelines.results import print_table, write_json
from pipelines.samples import read_samples
from pipelines.scoring import predict_images
from pipelines.setup import Setup
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

    from transfer.images.imageset import ImageSet
    from transfer.metrics import Evaluation


@dataclass(frozen=True)
class EvaluateStage:
    """Score the run's head and fine-tuned classifier, and other classifiers if named."""

    setup: Setup = field(default_factory=Setup)
    split: Literal["test", "val", "train"] = "test"
    """Rows to score; test is for the last word, not for choosing."""
    models: tuple[Path, ...] = ()
    """Saved classifiers to score as well, on the same rows, with the same classes."""
    pictures: bool = True
    """Draw confusion, architecture and a grid of predictions."""


def run(stage: EvaluateStage) -> dict:
    """Evaluates, prints a table, and writes `evaluation-<split>.json` and pictures.

    Returns:
        What is also written: per model accuracy, top-5, loss, per-class scores, confusion.

    Raises:
        InputError: If there is no head yet, or the split has no rows.
    """
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
        probabilities = {"head": predict_samples(model, samples)}
        tuned = read_finetuned(folder, head, "evaluate") is not None
        paths = named({"finetuned": folder / FINETUNED} if tuned else {}, stage.models)
        images = None
        if paths or stage.pictures:
            images = load_rows_of(features, stage.setup).subset(rows)
        names, labels = features.class_names, features.labels[rows]
        leaked = leaked_rows(folder, features, split, stage.split)
    classifiers = {name: _load(path, names) for name, path in paths.items()}
    for name, classifier in classifiers.items():
        assert images is not None
        probabilities[name] = predict_images(classifier, images, f"evaluating {name}")
    evaluations = _evaluate(probabilities, labels, names, stage.split)
    _print_tables(evaluations)
    result = {
        "split": stage.split,
        "models": {name: scores.to_json() for name, scores in evaluations.items()},
        **scores_without(leaked, probabilities, labels),
    }
    write_json(folder / f"evaluation-{stage.split}.json", result)
    if stage.pictures and images is not None:
        classifiers = {"head": _load(folder / CLASSIFIER, names), **classifiers}
        _draw_all(folder, classifiers, images, probabilities, evaluations)
    print(f"evaluate: scores and pictures in {folder}")
    return result


def _load(path: Path, class_names: tuple[str, ...]) -> "keras.Model":
    from transfer.classifier import load_classifier

    classifier, card = load_classifier(path)
    if card.class_names != class_names:
        raise InputError(
            f"{path} expects the classes {', '.join(card.class_names)}, "
            f"the data has {', '.join(class_names)}; choose a classifier of this data"
        )
    return classifier


def _evaluate(
    probabilities: dict[str, np.ndarray],
    labels: np.ndarray,
    class_names: tuple[str, ...],
    split: str,
) -> dict[str, "Evaluation"]:
    from transfer.metrics import evaluate

    return {
        name: evaluate(values, labels, class_names, split) for name, values in probabilities.items()
    }


def _print_tables(evaluations: dict[str, "Evaluation"]) -> None:
    rows = [
        [
            name,
            scores.num_images,
            f"{scores.accuracy:.4f}",
            "" if scores.top5 is None else f"{scores.top5:.4f}",
            f"{scores.loss:.4f}",
            f"{scores.calibration_error:.4f}",
        ]
        for name, scores in evaluations.items()
    ]
    split = next(iter(evaluations.values())).split
    columns = ["model", "images", "accuracy", "top 5", "loss", "calibration error"]
    print_table(f"On the {split} split", columns, rows)
    for name, scores in evaluations.items():
        print_table(
            f"{name}, class by class",
            ["class", "precision", "recall", "f1", "images"],
            [
                [c.class_name, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", c.support]
                for c in scores.per_class
            ],
        )


def _draw_all(
    folder: Path,
    classifiers: dict[str, "keras.Model"],
    images: "ImageSet",
    probabilities: dict[str, np.ndarray],
    evaluations: dict[str, "Evaluation"],
) -> None:
    # Evenly over the split, so that every class has its chance to be seen.
    shown = np.unique(np.linspace(0, len(images) - 1, 25).astype(int))
    few = images.subset(shown)
    endings = picture_names(classifiers)
    for name, classifier in classifiers.items():
        title = f"{name}, {evaluations[name].split} split"
        _draw(
            folder,
            endings[name],
            title,
            classifier,
            few,
            probabilities[name][shown],
            evaluations[name].confusion,
        )


def _draw(
    folder: Path,
    ending: str,
    title: str,
    classifier: "keras.Model",
    images: "ImageSet",
    probabilities: np.ndarray,
    confusion: np.ndarray,
) -> None:
    from transfer.pictures.architecture import plot_architecture
    from transfer.pictures.predictions import TILE, plot_confusion, plot_predictions

    plot_confusion(confusion, images.class_names, folder / f"confusion-{ending}.png", title)
    plot_architecture(classifier, folder / f"architecture-{ending}.png")
    best = probabilities.argmax(1)
    plot_predictions(
        [images.read(row, TILE) for row in range(len(images))],
        [images.class_names[label] for label in images.labels],
        [images.class_names[index] for index in best],
        probabilities.max(1),
        folder / f"predictions-{ending}.png",
    )

"""The evaluation stage: scores and pictures of one or several classifiers, side by side."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cache import FeatureFile
from pipelines.features import open_features, say_unjudged, split_of
from pipelines.finetune import check_trained_on, load_rows_of
from pipelines.head import predict_samples
from pipelines.results import print_table, read_json, write_json
from pipelines.samples import read_samples
from pipelines.scoring import predict_images
from pipelines.setup import Setup
from transfer.backend.startup import import_keras
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
    head = read_json(folder / "head.json", "head")
    import_keras()
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
        probabilities = {"head": _head_probabilities(stage.setup, features, head["cuts"], rows)}
        paths = _classifiers(stage, folder)
        images = None
        if paths or stage.pictures:
            images = load_rows_of(features, stage.setup).subset(rows)
        names, labels = features.class_names, features.labels[rows]
    classifiers = {path.stem: _load(path, names) for path in paths}
    for name, classifier in classifiers.items():
        assert images is not None
        probabilities[name] = predict_images(classifier, images, f"evaluating {name}")
    evaluations = _evaluate(probabilities, labels, names, stage.split)
    _print_tables(evaluations)
    result = {
        "split": stage.split,
        "models": {name: scores.to_json() for name, scores in evaluations.items()},
    }
    write_json(folder / f"evaluation-{stage.split}.json", result)
    if stage.pictures and images is not None:
        classifiers = {"head": _load(folder / "classifier.keras", names), **classifiers}
        _draw_all(folder, classifiers, images, probabilities, evaluations)
    print(f"evaluate: scores and pictures in {folder}")
    return result


def _classifiers(stage: EvaluateStage, folder: Path) -> list[Path]:
    finetuned = folder / "finetuned.keras"
    return [*([finetuned] if finetuned.exists() else []), *stage.models]


def _head_probabilities(
    setup: Setup, features: FeatureFile, cuts: list[str], rows: np.ndarray
) -> np.ndarray:
    import keras

    head = setup.run_folder / "head.keras"
    model = keras.models.load_model(head, safe_mode=True, compile=False)
    (samples,) = read_samples(features, [rows], tuple(cuts), setup.memory_budget)
    return predict_samples(model, samples)


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
        ]
        for name, scores in evaluations.items()
    ]
    split = next(iter(evaluations.values())).split
    print_table(f"On the {split} split", ["model", "images", "accuracy", "top 5", "loss"], rows)
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
    for name, classifier in classifiers.items():
        _draw(folder, name, classifier, few, probabilities[name][shown], evaluations[name])


def _draw(
    folder: Path,
    name: str,
    classifier: "keras.Model",
    images: "ImageSet",
    probabilities: np.ndarray,
    evaluation: "Evaluation",
) -> None:
    from transfer.pictures.architecture import plot_architecture
    from transfer.pictures.predictions import plot_confusion, plot_predictions

    title = f"{name}, {evaluation.split} split"
    plot_confusion(
        evaluation.confusion, images.class_names, folder / f"confusion-{name}.png", title
    )
    plot_architecture(classifier, folder / f"architecture-{name}.png")
    best = probabilities.argmax(1)
    plot_predictions(
        [images.read(row) for row in range(len(images))],
        [images.class_names[label] for label in images.labels],
        [images.class_names[index] for index in best],
        probabilities.max(1),
        folder / f"predictions-{name}.png",
    )

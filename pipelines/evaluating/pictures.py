"""The pictures of an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.classifiers import KerasClassifier
from pipelines.model_names import picture_names
from pipelines.scoring import Classifier

if TYPE_CHECKING:
    from transfer.images.imageset import ImageSet
    from transfer.metrics import Evaluation


def draw(
    folder: Path,
    classifiers: Mapping[str, Classifier],
    images: "ImageSet",
    probabilities: Mapping[str, np.ndarray],
    evaluations: "Mapping[str, Evaluation]",
    temperatures: Mapping[str, float],
) -> None:
    """Draws confusion, reliability, architecture and some predictions of each model.

    Args:
        folder: Where the pictures go.
        classifiers: By name.
        images: That were scored.
        probabilities: `(images, classes)` by the model's name.
        evaluations: Likewise.
        temperatures: Likewise.
    """
    from transfer.pictures.architecture import plot_architecture
    from transfer.pictures.predictions import plot_confusion

    endings = picture_names(classifiers)
    for name, classifier in classifiers.items():
        title, ending = f"{name}, {evaluations[name].split} split", endings[name]
        confusion = evaluations[name].confusion
        plot_confusion(confusion, images.class_names, folder / f"confusion-{ending}.png", title)
        said = probabilities[name]
        path = folder / f"reliability-{ending}.png"
        _draw_reliability(said, images.labels, temperatures[name], path, title)
        if isinstance(classifier, KerasClassifier):
            plot_architecture(classifier.model, folder / f"architecture-{ending}.png")
        _draw_predictions(said, images, folder / f"predictions-{ending}.png")


def _draw_reliability(
    said: np.ndarray, labels: np.ndarray, temperature: float, path: Path, title: str
) -> None:
    from transfer.calibration import at_temperature, reliability
    from transfer.pictures.reliability import plot_reliability

    curves = {"as it is": reliability(said, labels)}
    if temperature != 1:
        before = reliability(at_temperature(said, 1 / temperature), labels)
        curves = {"before calibration": before, "calibrated": curves["as it is"]}
    plot_reliability(curves, said.max(axis=1), path, title)


def _draw_predictions(said: np.ndarray, images: "ImageSet", path: Path) -> None:
    from transfer.pictures.predictions import MOST_PREDICTIONS, TILE, plot_predictions

    # Evenly over the split, so that every class has its chance to be seen.
    rows = np.unique(np.linspace(0, len(images) - 1, MOST_PREDICTIONS).astype(int))
    few, said = images.subset(rows), said[rows]
    plot_predictions(
        [few.read(row, TILE) for row in range(len(few))],
        [few.class_names[label] for label in few.labels],
        [few.class_names[index] for index in said.argmax(1)],
        said.max(1),
        path,
    )

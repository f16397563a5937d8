"""What a classifier says, in pictures: the confusion matrix, and images with their classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfer.pictures import figures

RIGHT_COLOUR, WRONG_COLOUR, UNKNOWN_COLOUR = "#007a4d", "#c8102e", "#444444"

MOST_CLASSES_WITH_COUNTS = 20
MOST_CLASSES_WITH_NAMES = 100
MOST_PREDICTIONS = 25


def plot_confusion(
    confusion: np.ndarray, class_names: Sequence[str], path: Path, title: str
) -> Path:
    """Draws a confusion matrix, each row coloured by its share of the true class.

    Counts are written into the cells up to 20 classes, names at the sides up to 100.

    Args:
        confusion: `(num_classes, num_classes)` counts, rows true, columns predicted.
        class_names: One a class.
        path: Where the picture goes.
        title: Stands above it.

    Returns:
        The path.

    Raises:
        ValueError: If the matrix does not have one row and one column per class.
    """
    num_classes = len(class_names)
    if not num_classes or confusion.shape != (num_classes, num_classes):
        raise ValueError(
            f"expected a confusion matrix of shape ({num_classes}, {num_classes}) for at least "
            f"one class, received {confusion.shape}"
        )
    with_counts = num_classes <= MOST_CLASSES_WITH_COUNTS
    side = max(3.0, (0.5 if with_counts else 0.16) * min(num_classes, MOST_CLASSES_WITH_NAMES))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)

    figure = figures.make(side + 2.4, side + 1.6)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8, fraction=0.05)
    axes.set_title(figures.drawable(title), parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if num_classes <= MOST_CLASSES_WITH_NAMES:
        size = 9 if with_counts else 6
        names = [figures.shorten(name) for name in class_names]
        ticks = range(num_classes)
        axes.set_xticks(ticks, names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(ticks, names, fontsize=size, parse_math=False)
    if with_counts:
        for (true, predicted), count in np.ndenumerate(confusion):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(predicted, true, f"{count}", color=colour, fontsize=8,
                      horizontalalignment="center", verticalalignment="center")  # fmt: skip
    return figures.save(figure, path)


TILE = (256, 256)
"""Height and width in pixels of which the grids make use."""


def plot_predictions(
    images: Sequence[np.ndarray],
    true_names: Sequence[str | None],
    predicted_names: Sequence[str],
    probabilities: Sequence[float],
    path: Path,
) -> Path:
    """Draws a grid of images with what they were taken for.

    Right answers are green with a tick, mistakes red with a cross, the true name and a thick frame.

    Args:
        images: 1 to 25 of `(height, width, 3)` uint8, 0-255 RGB, any sizes.
        true_names: One an image, None where it is not known.
        predicted_names: One an image.
        probabilities: Of the predicted class, 0-1, one an image.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If the lengths differ, there are too many images, or one is no RGB uint8.
    """
    _check_predictions(images, true_names, predicted_names, probabilities)
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    figure = figures.make(2.4 * columns, 2.8 * rows)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells[len(images) :]:
        axes.axis("off")
    predictions = zip(images, true_names, predicted_names, probabilities, strict=True)
    for axes, (image, true, predicted, probability) in zip(cells, predictions, strict=False):
        mark, colour = _verdict(true, predicted)
        title = f"{mark}{figures.shorten(predicted)} {probability:.0%}"
        if true is not None:
            title += f"\ntrue: {figures.shorten(true)}"
        axes.imshow(image)
        axes.set_title(title, color=colour, fontsize=10, parse_math=False)
        axes.set(xticks=[], yticks=[], anchor="N")
        for edge in axes.spines.values():
            edge.set(color=colour, linewidth=5 if colour == WRONG_COLOUR else 1.5)
    return figures.save(figure, path)


def _verdict(true: str | None, predicted: str) -> tuple[str, str]:
    if true is None:
        return "", UNKNOWN_COLOUR
    return ("✓ ", RIGHT_COLOUR) if true == predicted else ("✗ ", WRONG_COLOUR)


def _check_predictions(
    images: Sequence[np.ndarray],
    true_names: Sequence[str | None],
    predicted_names: Sequence[str],
    probabilities: Sequence[float],
) -> None:
    lengths = [len(images), len(true_names), len(predicted_names), len(probabilities)]
    if len(set(lengths)) > 1 or not 1 <= lengths[0] <= MOST_PREDICTIONS:
        raise ValueError(
            f"expected 1 to {MOST_PREDICTIONS} images and as many true names, predicted names and "
            f"probabilities, received {', '.join(map(str, lengths))}"
        )
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                "expected uint8 images of shape (height, width, 3), "
                f"received {image.dtype} {image.shape}"
            )

"""Probabilities for images, batch by batch, and which of two scores is the better."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from pipelines.bad_images import refusal
from pipelines.progress import progress
from transfer.classifier import ClassifierCard
from transfer.images.decoding import BadImage, Decoding
from transfer.images.imageset import ImageSet

RankBy = Literal["log_loss", "accuracy"]
"""Few images differ in accuracy by steps, in log loss by how sure a model is of each."""


def rank(scores: Mapping[str, Any], by: RankBy = "accuracy") -> tuple[float, float]:
    """Sorts better scores first: by one of them, where that is equal by the other.

    Args:
        scores: Holds `val_accuracy` and `val_loss`.
        by: Which comes first.
    """
    accuracy, loss = -scores["val_accuracy"], scores["val_loss"]
    return (loss, accuracy) if by == "log_loss" else (accuracy, loss)


@dataclass(frozen=True)
class Scored:
    """What a classifier says of some rows of an image set.

    Attributes:
        rows: `(count,)` int64, the rows of images that could be decoded.
        probabilities: `(count, num_classes)` float32 of each, two columns for a sigmoid.
        bad: The images that could not.
        stop: One past the last row that was looked at.
        features: `(count, channels)` float32 of each, see `body_with_features`, where they were
            asked for.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    bad: tuple[BadImage, ...]
    stop: int
    features: np.ndarray | None = None


class Classifier(Protocol):
    """What runs over images, see `pipelines.classifiers`."""

    def scored(self, images: ImageSet, start: int = 0) -> Iterator[Scored]:
        """Yields what it says of the rows from `start` on, in their order, as it comes.

        Args:
            images: Decoded ahead, at the size that the classifier sees.
            start: 0, or the `stop` of something yielded before for the same images: what follows
                is the same to the bit.
        """
        ...


def as_seen_by(card: ClassifierCard, images: ImageSet) -> ImageSet:
    """Images whose values become pixels in the way that a classifier was trained with."""
    return replace(images, decoding=Decoding(card.window, card.page))


def predict_images(
    classifier: Classifier,
    images: ImageSet,
    description: str | None,
) -> np.ndarray:
    """Runs a classifier over all rows of an image set.

    Args:
        classifier: From `pipelines.classifiers`.
        images: Rows to classify.
        description: What the progress bar says; None shows none, inside another.

    Returns:
        `(rows, num_classes)` float probabilities, two columns for a sigmoid.

    Raises:
        InputError: If an image cannot be decoded; lists all such.
    """
    bar = progress(description, len(images)) if description else nullcontext(lambda done: None)
    outputs = []
    with bar as update:
        for scored in classifier.scored(images):
            if scored.bad:
                raise refusal(images, scored.stop, scored.bad)
            outputs.append(scored.probabilities)
            update(scored.stop)
    return np.concatenate(outputs)

"""Probabilities for images, batch by batch, and which of two scores is the better."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.bad_images import bad_rows, refusal
from pipelines.progress import progress
from transfer.extraction.engines import default_batch_size
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet

if TYPE_CHECKING:
    import keras

    from transfer.extraction.keras_engine import KerasEngine


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


def predict_images(
    classifier: "keras.Model",
    images: ImageSet,
    description: str | None,
    set_aside: list[BadImage] | None = None,
    engine: "KerasEngine | None" = None,
) -> np.ndarray:
    """Runs a classifier over all rows of an image set.

    Args:
        classifier: From `build_classifier` or `load_classifier`.
        images: Rows to classify.
        description: What the progress bar says; None shows none, inside another.
        set_aside: If given, images that cannot be decoded are added to it and left out.
        engine: From `engine_for`, of the same classifier; by default a new one.

    Returns:
        `(rows, num_classes)` float probabilities, two columns for a sigmoid; without the rows
        set aside.

    Raises:
        InputError: If an image cannot be decoded and none may be set aside; lists all such.
    """
    from transfer.classifier import as_probabilities

    engine = engine or engine_for(classifier, images)
    body, batch_size = classifier.get_layer("body"), _batch_size(images)
    outputs = []
    bar = progress(description, len(images)) if description else nullcontext(lambda done: None)
    with bar as update:
        for batch, (output,) in engine.run(images.batches(batch_size, body.input_shape[1:3])):
            if batch.bad:
                if set_aside is None:
                    raise refusal(images, int(batch.rows[-1]) + 1, batch.bad)
                set_aside.extend(batch.bad)
                output = output[~np.isin(batch.rows, list(bad_rows(images, batch)))]
            outputs.append(output)
            update(int(batch.rows[-1]) + 1)
    return as_probabilities(np.concatenate(outputs))


def engine_for(classifier: "keras.Model", images: ImageSet) -> "KerasEngine":
    """What runs a classifier over these images, as often as they are scored."""
    from transfer.extraction.keras_engine import KerasEngine

    return KerasEngine(classifier.get_layer("body"), _batch_size(images))


def _batch_size(images: ImageSet) -> int:
    return min(default_batch_size(), max(1, len(images)))

"""Probabilities for images: the classifier over an image set, batch by batch."""

from typing import TYPE_CHECKING

import numpy as np

from pipelines.progress import progress
from transfer.errors import InputError
from transfer.images import ImageSet

if TYPE_CHECKING:
    import keras


def predict_images(
    classifier: "keras.Model", images: ImageSet, description: str, batch_size: int = 64
) -> np.ndarray:
    """Runs a classifier over all rows of an image set.

    Args:
        classifier: From `build_classifier` or `load_classifier`.
        images: Rows to classify.
        description: What the progress bar says.
        batch_size: Images at a time.

    Returns:
        `(rows, num_classes)` float probabilities, two columns for a sigmoid.

    Raises:
        InputError: If an image cannot be decoded.
    """
    from transfer.classifier import as_probabilities
    from transfer.engines import KerasEngine

    body = classifier.get_layer("body")
    engine = KerasEngine(body, min(batch_size, max(1, len(images))))
    outputs = []
    with progress(description, len(images)) as update:
        for batch, (output,) in engine.run(images.batches(batch_size, body.input_shape[1:3])):
            if batch.bad:
                listed = "; ".join(f"{bad.id}: {bad.reason}" for bad in batch.bad)
                raise InputError(
                    f"expected images, received files that cannot be decoded: {listed}"
                )
            outputs.append(output)
            update(batch.rows.stop)
    return as_probabilities(np.concatenate(outputs))

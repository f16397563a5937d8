"""An epoch's batches and validation images in the shapes that compiled steps take."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from transfer.heads.batches import ShuffledBatches
from transfer.heads.samples import Samples

CHUNK_BYTES = 2**24
"""Of the batches that the compiled loop gets at a time: enough steps to hide the call."""


def made_ahead(items: Iterator) -> Iterator:
    """Makes the next item in a thread while one is in use."""
    with ThreadPoolExecutor(1, "chunks") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def training_chunks(
    batches: ShuffledBatches, num_features: int, class_weights: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """Yields an epoch's batches some at a time, all of one shape, filled up with a row of theirs.

    Yields:
        `features (steps, rows, num_features)` and `labels (steps, rows)` of each batch,
        `row_weights` likewise, 0 where a row only fills up, and `counts (steps,)` of the others.
    """
    rows = len(batches.chosen(0))
    most = max(1, CHUNK_BYTES // (4 * rows * num_features))
    num_chunks = math.ceil(len(batches) / most)
    steps = math.ceil(len(batches) / num_chunks)
    for first in range(0, len(batches), steps):
        chunk = {
            "features": np.zeros((steps, rows, num_features), np.float32),
            "labels": np.zeros((steps, rows), np.int32),
            "row_weights": np.zeros((steps, rows), np.float32),
            "counts": np.zeros(steps, np.float32),
        }
        for step, index in enumerate(range(first, min(first + steps, len(batches)))):
            features, labels = batches[index]
            count = len(labels)
            # Of a row of zeros the loss might overflow, and NaN times 0 is NaN.
            chunk["features"][step] = features[0].ravel()
            chunk["features"][step, :count] = features.reshape(count, -1)
            chunk["labels"][step, :count] = labels
            chunk["row_weights"][step, :count] = class_weights[labels]
            chunk["counts"][step] = count
        yield chunk


def validation_pieces(val: Samples, num_samples: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields whole images, all pieces of one shape, filled up with a row of theirs.

    Yields:
        `features (samples, num_features)`, `labels (images,)`, and `mask` likewise, 0 where an
        image only fills up.
    """
    done = 0
    features = val.features
    if isinstance(features, np.ndarray):
        most, found = len(features), iter([features])
    else:
        most, found = features.rows_per_block * val.views, features.blocks()
    most_images = most // val.views
    number = math.ceil(most_images / max(1, num_samples // val.views))
    size = val.views * math.ceil(most_images / number)  # about equal: what fills up costs as much
    for block in found:
        for start in range(0, len(block), size):
            values = block[start : start + size]
            images = len(values) // val.views
            piece = {
                "features": np.zeros((size, math.prod(values.shape[1:])), np.float32),
                "labels": np.zeros(size // val.views, np.int32),
                "mask": np.zeros(size // val.views, np.float32),
            }
            piece["features"][:] = values[0].ravel()
            piece["features"][: len(values)] = values.reshape(len(values), -1)
            piece["labels"][:images] = val.image_labels[done : done + images]
            piece["mask"][:images] = 1
            done += images
            yield piece

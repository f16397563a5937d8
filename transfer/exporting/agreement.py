"""How far an exported model is from its classifier, and whether that is near enough."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from transfer.errors import InputError
from transfer.exporting.about import Agreement
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet
from transfer.metrics import standard_error

MOST_IMAGES = 500
"""Images on which two models are compared."""
LARGEST_DIFFERENCE = 1e-3
"""Of a probability, that float32 is let have; what was seen is a hundredth of it."""
ROUNDING = 1e-9
"""Of differences of accuracies."""
BATCH, BATCH_BYTES = 32, 2**26
"""The most images of one size, and bytes of their pixels, that a model is given at once."""


class _Predicts(Protocol):
    def predict(self, images: np.ndarray) -> np.ndarray: ...


def rows_to_compare(split: np.ndarray) -> np.ndarray:
    """Which images two models are compared on: of validation, and of training if those are few.

    Args:
        split: `(rows,)` of "train", "val" or "test"; test images choose nothing and are left out.

    Returns:
        Up to `MOST_IMAGES` increasing row numbers, from all over the set.
    """
    chosen: list[np.ndarray] = []
    for name in ("val", "train"):
        rows, free = np.flatnonzero(split == name), MOST_IMAGES - sum(map(len, chosen))
        if len(rows) > free:
            rows = rows[np.linspace(0, len(rows) - 1, free).astype(int)]
        chosen.append(rows)
    return np.sort(np.concatenate(chosen))


def probabilities_of(model: _Predicts, images: ImageSet) -> np.ndarray:
    """What a model says of images, each in its own size.

    Returns:
        `(rows, classes)` float32.

    Raises:
        InputError: If an image cannot be decoded.
    """
    return np.concatenate([model.predict(batch) for batch in _batches(images)])


def _batches(images: ImageSet) -> Iterator[np.ndarray]:
    """Consecutive images of one size, `(batch, height, width, 3)` uint8."""
    batch: list[np.ndarray] = []
    for _, image in images.stream():
        if isinstance(image, BadImage):
            raise InputError(f"expected images that can be decoded, received {image}")
        full = len(batch) == BATCH or (len(batch) + 1) * image.nbytes > BATCH_BYTES
        if batch and (full or image.shape != batch[0].shape):
            yield np.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield np.stack(batch)


def compare(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, split: np.ndarray
) -> Agreement:
    """Compares what two models say of the same images.

    Args:
        before: `(rows, classes)` probabilities, of the classifier.
        after: The same of the exported model.
        labels: `(rows,)` indices of the true classes.
        split: `(rows,)` of "val" or "train"; accuracies are of validation images if there are any,
            and their standard error is that of one image at least.
    """
    judge = "val" if np.any(split == "val") else "train"
    judged = split == judge
    right = [values.argmax(1)[judged] == labels[judged] for values in (before, after)]
    return Agreement(
        images=len(before),
        largest_difference=float(np.abs(before - after).max()),
        equal_top1=float(np.mean(before.argmax(1) == after.argmax(1))),
        split=judge,
        judged=len(right[0]),
        accuracy_before=float(right[0].mean()),
        accuracy_after=float(right[1].mean()),
        standard_error=max(standard_error(right[0]), 1 / len(right[0])),
    )


def why_refused(found: Agreement, precision: str) -> str | None:
    """Why an exported model is too far from its classifier; None if it is near enough.

    Args:
        found: From `compare`.
        precision: float32 must give the same probabilities; of others the accuracy must not fall
            by more than a standard error.
    """
    if precision == "float32":
        if found.largest_difference <= LARGEST_DIFFERENCE:
            return None
        return (
            f"a probability differs by {found.largest_difference:.2g}, "
            f"expected at most {LARGEST_DIFFERENCE:g}"
        )
    fall = found.accuracy_before - found.accuracy_after
    if fall <= found.standard_error + ROUNDING:
        return None
    return (
        f"accuracy on {found.judged} {found.split} images falls from {found.accuracy_before:.4f} "
        f"to {found.accuracy_after:.4f}, expected at most a standard error, "
        f"{found.standard_error:.4f}"
    )

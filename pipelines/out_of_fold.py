"""What a model's like said of images that it had not seen, in the model's file."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.classifier import read_members
from transfer.errors import InputError

if TYPE_CHECKING:
    from transfer.metrics import Evaluation

OUT_OF_FOLD = "oof.npz"
"""In a classifier, with arrays head_id, ids, labels, folds and probabilities."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a model's like said of images that it had not seen: out of fold, or for validation.

    Attributes:
        ids: `(images,)` str.
        labels: `(images,)` integers.
        folds: `(images,)` integers, the fold that an image was held out in.
        probabilities: `(images, classes)`.
    """

    ids: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    probabilities: np.ndarray

    def scores(self, class_names: tuple[str, ...], split: str = "cross-validation") -> "Evaluation":
        """Of all these images together."""
        from transfer.metrics import evaluate

        return evaluate(self.probabilities, self.labels, class_names, split)

    def rows_in(self, ids: Iterable[str]) -> np.ndarray:
        """`(images,)` int64: where the images stand among others.

        Args:
            ids: Of those others, all of these among them.
        """
        rows = {id: row for row, id in enumerate(ids)}
        return np.array([rows[id] for id in self.ids], np.int64)

    def as_npz(self, head_id: str) -> bytes:
        """As a file.

        Args:
            head_id: Of the head that it was said by, or that the model began with.
        """
        file = io.BytesIO()
        np.savez_compressed(
            file,
            allow_pickle=False,
            head_id=np.array(head_id),
            ids=self.ids.astype(str),
            labels=self.labels,
            folds=self.folds,
            probabilities=self.probabilities.astype(np.float32),
        )
        return file.getvalue()


def read_out_of_fold(path: Path) -> OutOfFold | None:
    """Reads it from a classifier's file; None if that has none.

    Raises:
        InputError: If there is no such file.
    """
    try:
        (content,) = read_members(path, OUT_OF_FOLD)
    except InputError:
        read_members(path)
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        names = ("ids", "labels", "folds", "probabilities")
        return OutOfFold(*(arrays[name] for name in names))

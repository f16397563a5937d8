"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from transfer.errors import InputError
from transfer.images.imageset import ImageSet
from transfer.images.texts import Texts


def load() -> ImageSet:
    """Loads the 1,797 images of 8 x 8 pixels, with ids `digits/0042`.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    table = np.loadtxt(digits_file(), delimiter=",")
    levels = np.rint(table[:, :-1].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    rows = len(levels)
    return ImageSet(
        ids=Texts.of(f"digits/{row:04}" for row in range(rows)),
        labels=table[:, -1].astype(np.int64),
        class_names=tuple(str(name) for name in range(10)),
        split=np.full(rows, "train", "<U5"),
        source=np.repeat(levels[..., None], 3, axis=-1),
        members=np.arange(rows),
    )


def digits_file() -> Path:
    """Finds the file behind load_digits; importing scikit-learn for it would take a second.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise InputError("'digits' comes with scikit-learn: install it (pip install scikit-learn)")
    return Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")

"""Features as an audit sees them: one view of each image, without positions."""

from collections.abc import Sequence

import numpy as np

from cache import FeatureFile


def read_flat(features: FeatureFile, rows: np.ndarray, cuts: Sequence[str]) -> np.ndarray:
    """The first view of some images, `(rows, num_features)`, cuts side by side."""
    values = features.read(rows, cuts)
    if len(features.spec.views) > 1:
        values = values[:, 0]
    return values.reshape(len(rows), -1)

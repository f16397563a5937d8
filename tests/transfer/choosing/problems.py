"""Small sets of features to choose heads on."""

import numpy as np

from transfer.choosing.rows import Rows

WIDTHS = (6, 10, 4)


def rows(images=60, classes=3, views=1, seed=0, signal=1.0, folds=4, **changed) -> Rows:
    """Features of some cuts, of which the last tells classes apart, skewed as those of ReLUs."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    features = rng.gamma(0.5, size=(images * views, sum(WIDTHS)))
    features[:, -WIDTHS[-1] :] += signal * np.eye(classes, WIDTHS[-1])[np.repeat(labels, views)]
    order = np.argsort(rng.random(images), kind="stable")
    values = {
        "features": features.astype(np.float32),
        "labels": labels,
        "num_classes": classes,
        "widths": WIDTHS,
        "folds": folds if isinstance(folds, np.ndarray) else order % folds,
        "training": rng.random(images) > 0.2,
        "final": np.ones(images, bool),
        "views": views,
    }
    return Rows(**(values | changed))

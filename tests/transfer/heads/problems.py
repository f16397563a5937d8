"""Correlated features, and labels that overlap."""

import numpy as np

from transfer.heads.features import feature_statistics
from transfer.heads.samples import Samples
from transfer.heads.standardised import standardise


def problem(num_rows=300, num_features=12, num_classes=4, noise=3.0, seed=0, val_rows=120):
    """Correlated features far from zero, of unequal spread, and labels that overlap."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(num_features, num_features)) * rng.uniform(0.1, 2, num_features)
    kernel = rng.normal(size=(num_features, num_classes))

    def draw(count):
        hidden = rng.normal(size=(count, num_features))
        labels = (hidden @ kernel + noise * rng.normal(size=(count, num_classes))).argmax(1)
        return (hidden @ mixing + 5).astype(np.float32), labels

    return *draw(num_rows), *draw(val_rows)


def standardised_problem(*args, views=1, **kwargs):
    train, labels, val, val_labels = problem(*args, **kwargs)
    statistics = feature_statistics(train)
    num_classes = max(labels.max(), val_labels.max()) + 1
    if views > 1:
        val_labels = np.repeat(val_labels[::views], views)
    return standardise(
        Samples(train, labels, views),
        Samples(val, val_labels, views),
        *statistics,
        int(num_classes),
    )

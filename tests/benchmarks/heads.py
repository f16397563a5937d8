"""Training of heads against plain Keras."""

import numpy as np

from tests.benchmarks.timing import compare
from transfer.startup import import_keras


def head_training() -> dict:
    """Two epochs of a linear head on 50,000 x 1,280 features: `Model.fit` as is against ours."""
    import_keras()
    from transfer.fitting import FitOptions, fit_head
    from transfer.heads import HeadOptions, build_head

    rng = np.random.default_rng(0)
    features = rng.normal(size=(50_000, 1280)).astype(np.float32)
    labels = rng.integers(0, 10, 50_000)
    few = features[:1000], labels[:1000]
    options = FitOptions(epochs=2, batch_size=256, learning_rate=1e-3, schedule="constant")

    def head():
        return build_head(HeadOptions(), np.zeros(1280), np.ones(1280), (1280,), 10)

    def plain():
        model = head()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(features, labels, batch_size=256, epochs=2, validation_data=few, verbose=0)

    return compare(
        "head training: Model.fit / fit_head",
        plain,
        lambda: fit_head(head(), features, labels, *few, options),
    )

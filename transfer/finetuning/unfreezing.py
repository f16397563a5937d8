"""Which layers of a classifier train."""

import keras

from transfer.backend.layers import leaf_layers
from transfer.errors import InputError


def unfreeze(classifier: keras.Model, which: str) -> tuple[int, int]:
    """Chooses which of a classifier's layers train.

    The head always trains. BatchNormalization never does, neither in the backbone nor in the
    head: `trainable = False` is what keeps its moving averages still in `fit`; calling it with
    `training=False` does not (seen on Keras 3.15.1).

    Args:
        classifier: From `build_classifier`.
        which: `"all"`, a number N (the backbone's last N layers, 0 for none), or the name of
            the backbone's first layer to train.

    Returns:
        Number of the backbone's layers that have trainable weights now, and number of layers in
        all.

    Raises:
        InputError: If `which` is neither of these.
    """
    body = classifier.get_layer("body")
    backbone = body.get_layer("backbone")
    first = _first_trainable([layer.name for layer in backbone.layers], which)
    classifier.trainable = True
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= first
    for layer in leaf_layers(classifier):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    trained = [layer for layer in backbone.layers if layer.trainable_variables]
    return len(trained), len(backbone.layers)


def _first_trainable(names: list[str], which: str) -> int:
    if which == "all":
        return 0
    if which.isdecimal():
        return max(0, len(names) - int(which))
    if which in names:
        return names.index(which)
    import difflib

    likely = difflib.get_close_matches(which, names, n=4, cutoff=0.4) or names[-4:]
    raise InputError(
        f"--unfreeze expects all, a number of layers or a layer's name, received {which!r}; "
        f"likely names: {', '.join(likely)}"
    )

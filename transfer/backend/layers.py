"""The layers of a model, those of the models nested in it included."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def leaf_layers(layer: "keras.Layer") -> Iterator["keras.Layer"]:
    """Yields the layers that are no models, in order; a layer that is none, itself."""
    if not hasattr(layer, "layers"):
        yield layer
        return
    for inner in layer.layers:
        yield from leaf_layers(inner)

"""The graph of a classifier that every format is made of."""

from pathlib import Path

import keras

from transfer.exporting.formats import RESIZING
from transfer.exporting.layers import FixedNormalization, MatmulResizing


def exportable(classifier: keras.Model) -> keras.Model:
    """A classifier of operations that all runtimes have, with the weights of the one given.

    Args:
        classifier: From `build_classifier` or `load_classifier`; it is left as it is.

    Returns:
        From `images`, `(batch, height, width, 3)` uint8 of any size, to `(batch, classes)` float32
        probabilities; a sigmoid's are two columns.
    """
    body = keras.models.clone_model(
        classifier.get_layer("body"), clone_function=_stand_in, recursive=True
    )
    images = keras.Input((None, None, 3), dtype="uint8", name="images")
    height, width = body.input_shape[1:3]
    resize = MatmulResizing(height, width, name=RESIZING)
    # Without training=False, BatchNorm behind another layer would run in training mode.
    probabilities = body(resize(images), training=False)
    if probabilities.shape[1] == 1:
        probabilities = keras.ops.concatenate([1 - probabilities, probabilities], axis=1)
    return keras.Model(images, probabilities, name="classifier")


def _stand_in(layer: keras.layers.Layer) -> keras.layers.Layer:
    match layer:
        case keras.layers.Resizing():
            return MatmulResizing(layer.height, layer.width, name=f"{RESIZING}_{layer.name}")
        case keras.layers.Normalization():
            return FixedNormalization(layer)
        case _:
            return layer  # the same one: its weights are not copied


def save_graph(classifier: keras.Model, folder: Path) -> None:
    """Writes the SavedModel of `exportable`, which the other formats are converted from."""
    exportable(classifier).export(str(folder), format="tf_saved_model", verbose=False)

"""The graph of a classifier that every format is made of."""

from pathlib import Path

import keras

from transfer.classifier import ClassifierCard, body_with_features
from transfer.exporting.formats import OUTPUTS, RESIZING
from transfer.exporting.layers import FixedNormalization, MatmulResizing


def exportable(classifier: keras.Model, card: ClassifierCard) -> keras.Model:
    """A classifier of operations that all runtimes have, with the weights of the one given.

    Args:
        classifier: From `build_classifier` or `load_classifier`; it is left as it is.
        card: Its card.

    Returns:
        From `images`, `(batch, height, width, 3)` uint8 of any size, to `(batch, classes)` float32
        probabilities, two columns of a sigmoid, and the features of `body_with_features`.
    """
    body = keras.models.clone_model(
        body_with_features(classifier, card), clone_function=_stand_in, recursive=True
    )
    images = keras.Input((None, None, 3), dtype="uint8", name="images")
    height, width = body.input_shape[1:3]
    resize = MatmulResizing(height, width, name=RESIZING)
    # Without training=False, BatchNorm behind another layer would run in training mode.
    probabilities, features = body(resize(images), training=False)
    if probabilities.shape[1] == 1:
        probabilities = keras.ops.concatenate([1 - probabilities, probabilities], axis=1)
    outputs = zip(OUTPUTS, (probabilities, features), strict=True)
    return keras.Model(images, dict(outputs), name="classifier")


def _stand_in(layer: keras.layers.Layer) -> keras.layers.Layer:
    match layer:
        case keras.layers.Resizing():
            return MatmulResizing(layer.height, layer.width, name=f"{RESIZING}_{layer.name}")
        case keras.layers.Normalization():
            return FixedNormalization(layer)
        case _:
            return layer  # the same one: its weights are not copied


def save_graph(classifier: keras.Model, card: ClassifierCard, folder: Path) -> None:
    """Writes the SavedModel of `exportable`, which the other formats are converted from."""
    exportable(classifier, card).export(str(folder), format="tf_saved_model", verbose=False)

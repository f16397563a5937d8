"""Classifiers run over images: Keras's by the engines of extraction, exported ones as they are."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.bad_images import bad_rows
from pipelines.scoring import Classifier, Scored
from transfer.backend.startup import import_keras
from transfer.classifier import (
    ClassifierCard,
    as_probabilities,
    body_with_features,
    load_classifier,
    read_card,
)
from transfer.errors import InputError
from transfer.exporting.formats import format_of
from transfer.exporting.runtimes import ExportedModel, is_exported, open_model
from transfer.extraction.engines import (
    Engine,
    EngineKind,
    build_engine,
    default_batch_size,
    in_words,
)
from transfer.images.decoding import BadImage
from transfer.images.imageset import Batch, ImageSet
from transfer.names import shown

if TYPE_CHECKING:
    import keras

    from transfer.extraction.keras_engine import KerasEngine


def open_classifier(
    path: Path,
    kind: EngineKind = "auto",
    say: Callable[[str], None] = lambda text: None,
    with_features: bool = False,
) -> tuple[Classifier, ClassifierCard]:
    """Opens a saved classifier to run over images.

    Args:
        path: Of a `.keras` file, or of what `transfer export` made of one.
        kind: Which engine runs a `.keras` file.
        say: Told what runs it.
        with_features: Whether it is to give the features of its last cut as well.

    Raises:
        InputError: If there is none, or it cannot be run.
    """
    if is_exported(path):
        model = open_model(path)
        say(f"{format_of(path).runtime} ({shown(str(path))})")
        return ExportedClassifier(model), model.card
    if path.is_dir():
        raise InputError(
            f"expected the file of a classifier, received the folder {path}; name a file in it, "
            "such as classifier.keras"
        )
    read_card(path)  # before Keras is imported
    import_keras()
    model, card = load_classifier(path)
    body = body_with_features(model, card) if with_features else None
    return KerasClassifier(model, kind, say, body=body), card


_AT_ONCE = 32
"""Images whose probabilities are given out together."""


class KerasClassifier:
    """A classifier's `body`, run as the frozen backbone is.

    Args:
        model: From `build_classifier` or `load_classifier`.
        kind: Which engine, see `build_engine`; it is built with the first images, and kept.
        say: Told which engine that is.
        engine: One that is there already, for the same model.
        body: From `body_with_features` of the model, where features are wanted.

    Attributes:
        model: As given.
    """

    def __init__(
        self,
        model: "keras.Model",
        kind: EngineKind = "auto",
        say: Callable[[str], None] = lambda text: None,
        engine: Engine | None = None,
        body: "keras.Model | None" = None,
    ) -> None:
        self.model = model
        self._body = body or model.get_layer("body")
        self._kind: EngineKind = kind
        self._say = say
        self._engine = engine

    def scored(self, images: ImageSet, start: int = 0) -> Iterator[Scored]:
        """See `pipelines.scoring.Classifier`.

        Raises:
            InputError: If the engine cannot be built.
        """
        if start == len(images):
            return
        size = batch_size(images)
        rows = np.arange(start, len(images))
        batches = images.batches(size, self._body.input_shape[1:3], rows, boundary=size)
        first = next(batches)
        if self._engine is None:
            self._engine = self._built(images, first)
        for batch, (output, *features) in self._engine.run(chain([first], batches)):
            good = ~np.isin(batch.rows, list(bad_rows(images, batch)))
            yield Scored(
                batch.rows[good],
                as_probabilities(output[good]),
                batch.bad,
                int(batch.rows[-1]) + 1,
                features[0][good] if features else None,
            )

    def _built(self, images: ImageSet, first: Batch) -> Engine:
        engine = build_engine(
            self._body, images, first, batch_size(images), self._kind, say=self._say
        )
        self._say(in_words(engine, "probabilities"))
        return engine


class ExportedClassifier:
    """An exported classifier, run on image by image, each in its own size, in several threads.

    Args:
        model: From `open_model`.
    """

    def __init__(self, model: ExportedModel) -> None:
        self._model = model

    def scored(self, images: ImageSet, start: int = 0) -> Iterator[Scored]:
        """See `pipelines.scoring.Classifier`."""

        def run(image: np.ndarray) -> np.ndarray:
            return np.concatenate(self._model.run(image[None]), axis=1)[0]

        count = len(self._model.card.class_names)

        stream = images.stream(start, None, self._model.card.image_size, run)
        with closing(stream):
            while piece := list(islice(stream, _AT_ONCE)):
                good = [(row, one) for row, one in piece if not isinstance(one, BadImage)]
                bad = [one for _, one in piece if isinstance(one, BadImage)]
                rows = np.array([row for row, _ in good], np.int64)
                outputs = np.array([output for _, output in good], np.float32)
                outputs = outputs.reshape(len(good), -1 if good else count)
                stop = piece[-1][0] + 1
                yield Scored(rows, outputs[:, :count], tuple(bad), stop, outputs[:, count:])


def keras_engine(model: "keras.Model", images: ImageSet) -> "KerasEngine":
    """What runs a classifier over these images and parts of them, while its weights change."""
    from transfer.extraction.keras_engine import KerasEngine

    return KerasEngine(model.get_layer("body"), batch_size(images))


def batch_size(images: ImageSet) -> int:
    """Images that a device sees at a time; fewer are padded."""
    return min(default_batch_size(), max(1, len(images)))


def network_of(classifier: Classifier) -> dict[str, int]:
    """How large a classifier is, and what an image costs it; nothing of exported ones."""
    if not isinstance(classifier, KerasClassifier):
        return {}
    from transfer.backbones.operations import multiply_adds

    model = classifier.model
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return {
        "parameters": model.count_params(),
        "trained": trained,
        "multiply_adds": multiply_adds(model),
    }

"""What a classifier answers to one encoded image: as `predict` says it, with pictures of why."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pipelines.classifiers import KerasClassifier, open_classifier
from pipelines.explaining import TrainingImages
from pipelines.given_images import one_image
from pipelines.knowing import is_without, read_knowledge
from pipelines.predicting.entries import entries_of
from pipelines.scoring import Classifier, Scored, as_seen_by
from pipelines.setup import Setup
from transfer.classifier import ClassifierCard
from transfer.explaining.evidence import Explainer
from transfer.images.imageset import ImageSet
from transfer.knowing.knowledge import Knowledge

LARGE, SMALL = 640, 240
"""Pixels that the longer side of a picture has at most: of the image, and of its neighbours."""


@dataclass(frozen=True)
class Answerer:
    """A classifier that is asked image by image, one at a time, from any thread.

    Attributes:
        classifier: What runs.
        card: Its card.
        knowledge: What it knows, if that is known.
        explainer: What says why, where it can be told.
        training: Images that it learned from, as far as they are at hand.
        top: How many classes to name, best first.
        left_out: What is missing in every answer and why, a line each.
    """

    classifier: Classifier
    card: ClassifierCard
    knowledge: Knowledge | None
    explainer: Explainer | None
    training: TrainingImages
    top: int
    left_out: Sequence[str] = ()
    _one_at_a_time: Lock = field(default_factory=Lock)

    def answer(self, content: bytes) -> dict[str, Any]:
        """Says of an image what `predict --output` does in JSON, with pictures in place of names.

        Args:
            content: Of an image's file.

        Returns:
            The entry (see `entries_of`) but for the name of the image. `nearest` holds an `id` and
            a `picture` each, None where it is not at hand; `picture` is the image itself, and
            `evidence` the same, bright where it speaks for the class, or None. Pictures are URIs
            of JPEGs, for a page to show as they are.

        Raises:
            BadImage: If it cannot be decoded.
            InputError: If the classifier cannot be run.
        """
        images = as_seen_by(self.card, one_image(content))
        with self._one_at_a_time:
            pixels = images.read(0)
            scored = _scored(self.classifier, images)
            names = self.card.class_names
            (entry,) = entries_of(images, scored, names, self.knowledge, self.top)
            del entry["image"]
            shown = _at_most(LARGE, pixels)
            nearest = [
                {"id": id, "picture": _neighbour(self.training.pixels(id))}
                for id in entry.pop("nearest", [])
            ]
            evidence = self._evidence(pixels, shown, int(scored.probabilities[0].argmax()))
        pictures = {"picture": _as_uri(shown), "evidence": evidence}
        return {**entry, "nearest": nearest, **pictures}

    def close(self) -> None:
        """Waits for the answer that is being made, if any; there will be no other.

        A process must not end while a thread of it is inside of native code.
        """
        self._one_at_a_time.acquire()

    def _evidence(self, pixels: np.ndarray, shown: np.ndarray, explained: int) -> str | None:
        if self.explainer is None:
            return None
        from transfer.pictures.explanations import lit

        heat = self.explainer.explain(pixels, explained).heat
        return None if heat is None else _as_uri(lit(shown, heat))


def open_answerer(setup: Setup, model: Path, top: int) -> Answerer:
    """Opens a saved classifier to be asked.

    Args:
        setup: Of the run.
        model: The classifier's file, or an export of one.
        top: How many classes to name.

    Raises:
        InputError: If there is none, or it cannot be run.
    """
    knowledge = read_knowledge(model)
    left_out = [] if knowledge else [is_without(model)]
    classifier, card = open_classifier(model, setup.engine, with_features=knowledge is not None)
    explainer = None
    if isinstance(classifier, KerasClassifier):
        explainer = Explainer(classifier.model, card)
        why_not = explainer.why_not
    else:
        why_not = "an exported file has no insides to explain"
    if why_not:
        left_out.append(f"no picture says what speaks for a class: {why_not}")
    training = TrainingImages.of_run(setup, model, knowledge, "serve")
    return Answerer(
        classifier, card, knowledge, None if why_not else explainer, training, top, left_out
    )


def _scored(classifier: Classifier, images: ImageSet) -> Scored:
    (scored,) = classifier.scored(images)
    if scored.bad:
        raise scored.bad[0]
    return scored


def _neighbour(pixels: np.ndarray | None) -> str | None:
    return None if pixels is None else _as_uri(_at_most(SMALL, pixels))


def _at_most(side: int, pixels: np.ndarray) -> np.ndarray:
    """An image made smaller where its longer side has more pixels."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.array(image)


def _as_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"

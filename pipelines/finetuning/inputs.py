"""What a training reads: pixels, or the stored outputs of a frozen prefix."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipelines.classifiers import KerasClassifier, keras_engine
from pipelines.scoring import predict_images
from transfer.finetuning.augmentation import AugmentOptions
from transfer.images.imageset import ImageSet

if TYPE_CHECKING:
    import keras

    from transfer.finetuning.suffix import Division
    from transfer.finetuning.tuning import LossModel
    from transfer.heads.batches import ShuffledBatches


class Inputs(Protocol):
    """Where a training's batches come from.

    Attributes:
        model: The classifier, or its suffix, with random changes and loss.
        in_words: What it is, for people.
    """

    model: "LossModel"
    in_words: str

    def batches(
        self, rows: np.ndarray, batch_size: int, seed: int, epoch: int
    ) -> "ShuffledBatches":
        """Batches of the images of some rows, from an epoch on."""
        ...

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """`(rows, classes)` probabilities by the present weights, of images as they are."""
        ...


class Pixels:
    """Trains the whole classifier on pixels.

    Args:
        classifier: From `build_classifier`.
        images: All rows.
        augment: Random changes.
        seed: Of these.
        memory: Bytes for decoded images.
    """

    in_words = "pixels"

    def __init__(
        self,
        classifier: "keras.Model",
        images: ImageSet,
        augment: AugmentOptions,
        seed: int,
        memory: int,
    ) -> None:
        from transfer.finetuning.augmentation import augmentation_layers, mixing_layers
        from transfer.finetuning.image_batches import DecodedImages
        from transfer.finetuning.tuning import LossModel

        self._images = images
        body = classifier.get_layer("body")
        self._decoded = DecodedImages(images, body.input_shape[1:3], memory)
        preparing = [*self._decoded.preparing_layers(), *augmentation_layers(augment, seed)]
        self.model = LossModel(body, preparing, mixing_layers(augment, seed))
        self._engine = keras_engine(classifier, images)
        self._classifier = KerasClassifier(classifier, engine=self._engine)

    def batches(
        self, rows: np.ndarray, batch_size: int, seed: int, epoch: int
    ) -> "ShuffledBatches":
        """Batches of pixels, decoded once where there is memory for them."""
        from transfer.finetuning.image_batches import ImageBatches

        return ImageBatches(self._decoded, rows, batch_size, seed, epoch)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Runs the classifier as `evaluate` does."""
        self._engine.weights_have_changed()
        return predict_images(self._classifier, self._images.subset(rows), None)


class StoredPrefix:
    """Trains the suffix of a classifier on what the frozen prefix made of the images.

    Args:
        classifier: From `build_classifier`, of one view.
        division: Where it is divided.
        pooling: The classifier's.
        outputs: Per input of the suffix `(images, views, ...)`.
    """

    def __init__(
        self,
        classifier: "keras.Model",
        division: "Division",
        pooling: str,
        outputs: list[np.ndarray],
    ) -> None:
        from transfer.finetuning.suffix import suffix_model
        from transfer.finetuning.tuning import LossModel

        self.in_words = f"stored outputs of {division.place or 'the backbone'}"
        self._outputs = outputs
        self.model = LossModel(suffix_model(classifier, division, pooling))

    def batches(
        self, rows: np.ndarray, batch_size: int, seed: int, epoch: int
    ) -> "ShuffledBatches":
        """Batches of stored outputs, each image in one of its views."""
        from transfer.finetuning.prefix_batches import PrefixBatches

        return PrefixBatches(self._outputs, rows, batch_size, seed, epoch)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Runs the suffix on images in their first view, as they are."""
        from transfer.classifier import as_probabilities
        from transfer.finetuning.prefix_batches import PrefixBatches

        batches = PrefixBatches(self._outputs, rows, PREDICTED)
        forward = self.model.forward
        parts = [forward.predict_on_batch(batches[n]) for n in range(len(batches))]
        return as_probabilities(np.concatenate(parts))


PREDICTED = 64
"""Images of one batch where nothing is learned."""

"""Class activation maps: how much each place of an image adds to the logit of a class.

For a linear head on averages over positions this is no estimate. The average and the head change
places: weights are applied at each position, and the mean over positions is the logit. Where a head
takes roots, an average `a` becomes `a * r(a)`, and the image's own factor `r(a)` goes with the
weight. Nothing is differentiated.

Source: Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative
Localization", 2016, here for several cuts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transfer.backbones.preprocessing import preprocess
from transfer.backbones.resizing import resize_pixels
from transfer.backbones.table import find_backbone
from transfer.classifier import ClassifierCard, as_probabilities, body_with_features
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a classifier says of an image, and why.

    Attributes:
        probabilities: `(num_classes,)`, mean over views.
        features: `(channels,)` of the last cut, see `body_with_features`.
        explained: Number of the class that `heat` is about, by default the most probable.
        heat: `(rows, columns)` float32, on the grid of the finest cut: what each place adds to the
            logit of that class, of the image as it is, in no other view. Its mean is the logit.
            None for other heads than linear ones on averages.
    """

    probabilities: np.ndarray
    features: np.ndarray
    explained: int
    heat: np.ndarray | None


def explain(
    classifier: keras.Model,
    card: ClassifierCard,
    images: Sequence[np.ndarray],
    explained: int | None = None,
) -> list[Explanation]:
    """Says of images what a classifier takes them for, and where it sees that.

    Args:
        classifier: From `load_classifier`.
        card: Likewise.
        images: Of `(height, width, 3)` uint8, 0-255 RGB, any sizes.
        explained: Number of the class to give reasons for; by default each image's most probable.

    Returns:
        One an image. For many images, make an `Explainer` once.

    Raises:
        InputError: If an image has another shape or dtype, or there is no such class.
    """
    explainer = Explainer(classifier, card)
    return [explainer.explain(image, explained) for image in images]


class Explainer:
    """Explains what a classifier says, image by image.

    Args:
        classifier: From `load_classifier`.
        card: Likewise.

    Attributes:
        card: As given.
        why_not: Why there are no heat maps, in a line; empty where there are.
    """

    def __init__(self, classifier: keras.Model, card: ClassifierCard) -> None:
        import keras

        body = classifier.get_layer("body")
        backbone, head = body.get_layer("backbone"), body.get_layer("head")
        self.card = card
        self.why_not = _why_not(backbone, head, card)
        pixels = keras.Input((*card.image_size, 3), name="pixels")
        outputs = list(body_with_features(classifier, card)(pixels))
        if not self.why_not:
            preprocessed = preprocess(pixels, find_backbone(card.backbone).preprocessing)
            maps = backbone(preprocessed, training=False)
            maps = maps if isinstance(maps, list | tuple) else [maps]
            outputs += [keras.ops.cast(one, "float32") for one in maps]
            self._linear = _Linear(head)
        self._model = keras.Model(pixels, outputs)

    def explain(self, image: np.ndarray, explained: int | None = None) -> Explanation:
        """Explains one image; see `explain`."""
        import keras

        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                "expected a uint8 image of shape (height, width, 3), "
                f"received {image.dtype} {image.shape}"
            )
        pixels = resize_pixels(keras.ops.convert_to_tensor(image[None]), self.card.image_size)
        said, features, *maps = [
            keras.ops.convert_to_numpy(output)[0] for output in self._model(pixels, training=False)
        ]
        probabilities = as_probabilities(said[None])[0]
        chosen = int(probabilities.argmax()) if explained is None else explained
        if not 0 <= chosen < len(probabilities):
            raise InputError(
                f"expected a class from 0 to {len(probabilities) - 1}, received {explained}"
            )
        heat = self._linear.heat(maps, chosen) if maps else None
        return Explanation(probabilities, features, chosen, heat)


def _why_not(backbone: keras.Model, head: keras.Model, card: ClassifierCard) -> str:
    import keras

    wanted = "heat maps are for linear heads on averages over positions; "
    if card.pooling != "avg":
        return f"{wanted}here pooling is {card.pooling}"
    if any(len(output.shape) != 4 for output in backbone.outputs):
        return f"{wanted}here a cut has no positions"
    hidden = sum(isinstance(layer, keras.layers.Dense) for layer in head.layers) - 1
    if hidden:
        return f"{wanted}the hidden layers of this one: {hidden}"
    return ""


class _Linear:
    """A head that takes roots or not, standardises and multiplies, in numbers."""

    def __init__(self, head: keras.Model) -> None:
        import keras

        normalization = head.get_layer("normalization")
        self._transform = keras.Model(head.input, normalization.input)
        self._mean = _array(normalization.mean).ravel()
        deviation = np.sqrt(_array(normalization.variance).ravel())
        self._deviation = np.maximum(deviation, keras.config.epsilon())
        kernel, self._bias = (_array(weight) for weight in head.get_layer("logits").weights)
        if kernel.shape[1] == 1:  # a sigmoid's logit is that of the second class
            kernel = np.concatenate([-kernel, kernel], axis=1)
            self._bias = np.concatenate([-self._bias, self._bias])
        self._kernel = kernel / self._deviation[:, None]

    def heat(self, maps: Sequence[np.ndarray], explained: int) -> np.ndarray:
        """What each place adds to the logit of a class.

        Args:
            maps: Per cut `(rows, columns, channels)`.
            explained: Number of the class.
        """
        means = np.concatenate([one.mean(axis=(0, 1)) for one in maps])
        transformed = _array(self._transform(means[None]))[0]
        factors = np.divide(transformed, means, out=np.zeros_like(means), where=means != 0)
        weights = self._kernel[:, explained]
        total = self._bias[explained] - self._mean @ weights  # as much in every place
        shape = max((one.shape[:2] for one in maps), key=np.prod)
        heat = np.full(shape, total, np.float64)
        ends = np.cumsum([one.shape[-1] for one in maps])[:-1]
        for one, share in zip(maps, np.split(weights * factors, ends), strict=True):
            heat += spread(one @ share, shape)
        return heat.astype(np.float32)


def spread(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Lays a grid over the same area as a finer one, each cell weighed by how much it covers.

    Args:
        values: `(rows, columns)`.
        shape: Of the result, at least as large.

    Returns:
        `shape` float64, of the same mean.
    """
    down, across = (_covered(*sizes) for sizes in zip(values.shape, shape, strict=True))
    return down @ values @ across.T


def _covered(coarse: int, fine: int) -> np.ndarray:
    """`(fine, coarse)` shares of each cell of one side that lie in the cells of another."""
    starts, ends = np.arange(fine) / fine, np.arange(1, fine + 1) / fine
    left, right = np.arange(coarse) / coarse, np.arange(1, coarse + 1) / coarse
    overlap = np.minimum(ends[:, None], right) - np.maximum(starts[:, None], left)
    return np.maximum(overlap, 0) * fine


def _array(values: object) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(values)

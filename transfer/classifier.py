"""The classifier: backbone and head as one model that takes raw pixels."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from transfer.backbones.body import features_by_view
from transfer.backbones.options import BackboneOptions
from transfer.backbones.resizing import resize_pixels
from transfer.backend.keras_private import weights_come_later
from transfer.errors import InputError
from transfer.machine.whole_files import whole_file

if TYPE_CHECKING:
    import keras

CARD = "classifier.json"
"""Member of the `.keras` archive (a zip file) that holds the `ClassifierCard`."""


@dataclass(frozen=True)
class ClassifierCard:
    """What a person or program needs to know about a saved classifier.

    Attributes:
        class_names: One per class; with a sigmoid output, the probability is that of the second.
        backbone: Name of the architecture.
        image_size: `(height, width)` in pixels that images are resized to, inside the model.
        cuts: Layers whose outputs the head sees.
        pooling: How each cut became a vector.
        views: How the head sees each image, see `transfer.backbones.views`; their probabilities
            are averaged.
        window: Which values of grey images of more than 8 bits became black and white before the
            model saw them, see `transfer.images.levels`; what is given to it is to be made so, too.
        page: Which image of files with several pages, from 1.
        temperature: By which the model divides its logits, so that probabilities are true.
        pixels: What the model takes, in words.
    """

    class_names: tuple[str, ...]
    backbone: str
    image_size: tuple[int, int]
    cuts: tuple[str, ...]
    pooling: str
    views: tuple[str, ...] = ("identity",)
    window: str = "full"
    page: int = 1
    temperature: float = 1.0
    pixels: str = "RGB, uint8, from 0 to 255, of any height and width"


def build_classifier(
    backbone: "keras.Model", head: "keras.Model", options: BackboneOptions
) -> "keras.Model":
    """Joins a cut backbone and a head trained on its features.

    Args:
        backbone: A cut backbone with exactly the cuts that the head uses, in its order.
        head: Model from the features of one view to probabilities.
        options: What the backbone was built from.

    Returns:
        `Input(uint8, any size) -> resizing -> body`, where the nested model `body` is
        `preprocessing -> views -> backbone -> pooling -> head`; output `(batch, num_classes)`
        probabilities, or `(batch, 1)` for a sigmoid head, averaged over the views. Stock layers
        only, no Lambda. The backbone is frozen, in a saved file and its picture, too.
    """
    import keras

    backbone.trainable = False
    image_size = options.resolved_image_size()
    pixels = keras.Input((*image_size, 3), name="pixels")
    by_view = features_by_view(pixels, backbone, options)
    body = keras.Model(pixels, _probabilities(by_view, head), name="body")
    images = keras.Input((None, None, 3), dtype="uint8", name="images")
    outputs = body(resize_pixels(images, image_size), training=False)
    return keras.Model(images, outputs, name="classifier")


def _probabilities(
    by_view: Sequence[Sequence["keras.KerasTensor"]], head: "keras.Model"
) -> "keras.KerasTensor":
    """What the head says of each view's features, one tensor a cut, averaged."""
    import keras

    join = keras.layers.Concatenate(name="join")
    said = [head(features[0] if len(features) == 1 else join(features)) for features in by_view]
    return keras.layers.Average(name="average")(said) if len(said) > 1 else said[0]


def body_with_features(classifier: "keras.Model", card: ClassifierCard) -> "keras.Model":
    """The body of a classifier, which shows the features of its last cut as well.

    Args:
        classifier: From `build_classifier` or `load_classifier`; weights are shared.
        card: Its card.

    Returns:
        Model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to `(batch, num_classes)`
        probabilities, as the classifier's, and `(batch, channels)` float32 features, averaged over
        views, and over positions where the cut has any.
    """
    import keras

    body = classifier.get_layer("body")
    options = options_of(card)
    pixels = keras.Input((*card.image_size, 3), name="pixels")
    by_view = features_by_view(pixels, body.get_layer("backbone"), options)
    last = [keras.ops.cast(features[-1], "float32") for features in by_view]
    positions = tuple(range(1, len(last[0].shape) - 1))
    means = [keras.ops.mean(one, axis=positions) if positions else one for one in last]
    features = keras.ops.mean(keras.ops.stack(means, axis=1), axis=1)
    said = _probabilities(by_view, body.get_layer("head"))
    return keras.Model(pixels, [said, features], name="body_with_features")


def options_of(card: ClassifierCard) -> BackboneOptions:
    """The options that say how a classifier with this card sees images; not of which weights."""
    return BackboneOptions(
        card.backbone,
        image_size=card.image_size[0],
        cut=card.cuts,
        pooling=card.pooling,  # type: ignore[arg-type]
        views=card.views,
    )


def save_classifier(
    model: "keras.Model",
    card: ClassifierCard,
    path: Path,
    members: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Saves model, card and further members as one `.keras` file, whole or not at all.

    Of several processes that save at once, one wins whole.

    Args:
        model: From `build_classifier`.
        card: What goes into the file as `classifier.json`.
        path: Its name ends in `.keras`.
        members: Content by the name that it has inside the file; Keras overlooks it.
    """
    with whole_file(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(CARD, json.dumps(asdict(card), indent=1))
            for name, content in members.items():
                archive.writestr(name, content)


def load_classifier(path: Path) -> tuple["keras.Model", ClassifierCard]:
    """Loads what `save_classifier` wrote; code inside the file is never run (safe mode).

    Raises:
        InputError: If the file is missing or no classifier of ours.
    """
    card = read_card(path)
    import keras

    try:
        with weights_come_later():
            return keras.models.load_model(path, safe_mode=True, compile=False), card
    except Exception as error:  # of many kinds: layers that Keras refuses, weights that lack
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} holds no model that this Keras can load safely ({type(error).__name__}: "
            f"{reason}); expected a classifier.keras or finetuned.keras of a run"
        ) from None


def read_card(path: Path) -> ClassifierCard:
    """Reads the card alone, without Keras.

    Raises:
        InputError: If the file is missing or no classifier of ours.
    """
    (text,) = read_members(path, CARD)
    try:
        return card_from(json.loads(text), path)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} holds a {CARD} that is no JSON ({error}); train again") from None


def card_from(values: object, path: Path) -> ClassifierCard:
    """A card of what JSON holds.

    Args:
        values: From `json.loads`, of `asdict` of a card.
        path: Of the file, for errors.

    Raises:
        InputError: If fields lack, or are there that only a newer version of this program knows.
    """
    known = fields(ClassifierCard)
    needed = {one.name for one in known if one.default is MISSING}
    given = set(values) if isinstance(values, dict) else set()
    if lacking := sorted(needed - given):
        raise InputError(
            f"{path} is expected to say its {', '.join(lacking)}, received a file that does not; "
            "it was not written by this program"
        )
    if new := sorted(given - {one.name for one in known}):
        raise InputError(
            f"{path} was written by a newer version of this program (it says {', '.join(new)}); "
            "use that version, or make the file again with this one"
        )
    assert isinstance(values, dict)
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return ClassifierCard(**(values | lists))


def read_members(path: Path, *names: str) -> list[bytes]:
    """Reads what else a saved classifier holds, without Keras.

    Args:
        path: Of the classifier.
        names: As they were given to `save_classifier`.

    Returns:
        The content of each, of one file, even while another is saved in its place.

    Raises:
        InputError: If the file is missing or does not hold all of them.
    """
    if not path.is_file():
        raise InputError(
            f"expected a classifier at {path}, found none; "
            "train one with `transfer head` or name one with --model"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in names]
    except (zipfile.BadZipFile, KeyError):
        raise InputError(
            f"{path} is no classifier saved by this project (no {' and '.join(names)} inside); "
            "expected a classifier.keras or finetuned.keras of a run"
        ) from None


def model_as_bytes(model: "keras.Model") -> bytes:
    """A model as a `.keras` file, to be a member of another."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes()


def model_from_bytes(content: bytes) -> "keras.Model":
    """Loads what `model_as_bytes` gave; code inside is never run (safe mode)."""
    import keras

    with TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        with weights_come_later():
            return keras.models.load_model(path, safe_mode=True, compile=False)


def as_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Gives sigmoid outputs two columns; leaves softmax outputs alone.

    Args:
        outputs: `(rows, num_classes)` or `(rows, 1)` float, 0 to 1.

    Returns:
        `(rows, num_classes)` float; rows sum to one.
    """
    if outputs.shape[1] > 1:
        return outputs
    return np.concatenate([1 - outputs, outputs], axis=1)


def top_classes(
    probabilities: np.ndarray, class_names: Sequence[str], count: int
) -> list[list[tuple[str, float]]]:
    """The `count` most probable classes of each row, best first, as `(name, probability)`."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        [(class_names[index], float(row[index])) for index in best]
        for row, best in zip(probabilities, order, strict=True)
    ]

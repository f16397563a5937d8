"""Dividing a classifier: a frozen prefix, whose outputs can be kept, and a suffix that trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transfer.backbones.blocks import needed_for, sources_of
from transfer.backbones.cuts import pool
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Division:
    """Where a backbone is divided.

    Attributes:
        place: Name of the operation whose output alone leads on; empty behind the whole backbone.
        early: The head's cuts that do not depend on it, in the head's order.
        late: Those that do.
    """

    place: str
    early: tuple[str, ...]
    late: tuple[str, ...]


def divide(backbone: "keras.Model", place: str) -> Division:
    """Says which of a cut backbone's outputs a suffix has to compute.

    Args:
        backbone: The model named `backbone` in a classifier, one output per cut.
        place: Name of an operation.

    Raises:
        InputError: If the top depends on more than this operation's output.
    """
    sources = sources_of(backbone)
    images = {name for name, read in sources.items() if not read}
    others = [name for name in backbone.output_names if name != place]
    late = [name for name in others if place in needed_for(name, sources)] if place else []
    for name in late:
        if images & needed_for(name, sources, place):
            raise InputError(
                f"a prefix expects a layer that all paths to {name} run through, received {place}"
            )
    early = [name for name in backbone.output_names if name not in late]
    return Division(place, tuple(early), tuple(late))


def suffix_model(classifier: "keras.Model", division: Division, pooling: str) -> "keras.Model":
    """The part of a classifier behind a division, with the same weights.

    Args:
        classifier: From `build_classifier`, of one view.
        division: From `divide`.
        pooling: The classifier's.

    Returns:
        Model from a list of the place's output, `(batch, ...)` float32, and one tensor of pooled
        features per early cut, to probabilities.
    """
    import keras

    body = classifier.get_layer("body")
    backbone, head = body.get_layer("backbone"), body.get_layer("head")
    tensors = {operation.name: operation.output for operation in backbone.operations}
    inputs, late = [], {}
    if division.late:
        place = tensors[division.place]
        behind = keras.Model(place, [tensors[name] for name in division.late])
        inputs.append(keras.Input(place.shape[1:], name="prefix"))
        outputs = behind(inputs[0], training=False)
        late = dict(zip(division.late, keras.tree.flatten(outputs), strict=True))
    features = []
    for number, name in enumerate(backbone.output_names):
        if name in late:
            features.append(pool(late[name], pooling, f"{pooling}_pool_{number}"))
            continue
        shape = pool(tensors[name], pooling, f"{pooling}_shape_{number}").shape
        inputs.append(keras.Input(shape[1:], name=f"cut_{number}"))
        features.append(inputs[-1])
    joined = features[0] if len(features) == 1 else keras.layers.Concatenate()(features)
    return keras.Model(inputs, head(joined), name="suffix")

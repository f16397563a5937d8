"""Which weights of a classifier train."""

import difflib
from dataclasses import dataclass

import keras
import numpy as np

from transfer.backbones.blocks import Block, blocks_of, separators
from transfer.backend.layers import leaf_layers
from transfer.errors import InputError


@dataclass(frozen=True)
class Unfrozen:
    """What trains.

    Attributes:
        place: The operation of the backbone behind which all that trains lies, whose output alone
            leads on; empty if it lies behind the backbone, None if there is no such place.
        parameters: How many numbers train, those of the head included.
        in_words: What trains, for people.
        depths: Blocks between a variable and the head, by the variable's path.
    """

    place: str | None
    parameters: int
    in_words: str
    depths: dict[str, int]


def unfreeze(classifier: keras.Model, which: str) -> Unfrozen:
    """Chooses which of a classifier's weights train; the head always does.

    The statistics of norms never do: `LossModel` runs all layers as where nothing is learned.

    Args:
        classifier: From `build_classifier`.
        which: `all`; `norm`, scales and offsets of norms; `head`; `blocks:N`, the last N blocks;
            a number, the last N layers; or the name of a block or layer, for it and all behind it.

    Raises:
        InputError: If it is none of these.
    """
    body = classifier.get_layer("body")
    backbone, head = body.get_layer("backbone"), body.get_layer("head")
    path = path_to_head(classifier)
    blocks = blocks_of(path)
    names = [layer.name for layer in backbone.layers]
    first = 0 if which == "norm" else _first(which, names, blocks)
    backbone.trainable = head.trainable = True
    for number, layer in enumerate(backbone.layers):
        is_norm = "Normalization" in type(layer).__name__
        layer.trainable = number >= first and (which != "norm" or is_norm)
    _keep_statistics(head)
    return Unfrozen(
        None if which == "norm" else _place(path, names[:first], first == len(names)),
        sum(int(np.prod(weight.shape)) for weight in body.trainable_variables),
        _in_words(which, blocks, set(names[first:])),
        _depths(backbone, blocks),
    )


def path_to_head(classifier: keras.Model) -> keras.Model:
    """A classifier's backbone up to the last of its cuts, that one alone."""
    backbone = classifier.get_layer("body").get_layer("backbone")
    return keras.Model(backbone.input, backbone.outputs[-1])


def _first(which: str, names: list[str], blocks: tuple[Block, ...]) -> int:
    """The number of the first layer to train."""
    word, _, count = which.partition(":")
    by_name = {block.name: block for block in blocks}
    if which == "all":
        return 0
    if which == "head" or which == "0":
        return len(names)
    if which.isdecimal():
        return max(0, len(names) - int(which))
    if word == "blocks" and count.isdecimal() and int(count) > 0:
        which = blocks[max(0, len(blocks) - int(count))].name
    if which in by_name:
        return min(names.index(name) for name in by_name[which].operations if name in names)
    if which in names:
        return names.index(which)
    known = [*by_name, *names]
    likely = difflib.get_close_matches(which, known, n=4, cutoff=0.4) or list(by_name)[-4:]
    raise InputError(
        "--unfreeze expects auto, all, norm, head, blocks:N, a number of layers, or the name of a "
        f"block or layer, received {which!r}; likely names: {', '.join(likely)}"
    )


def _place(path: keras.Model, frozen: list[str], is_all: bool) -> str | None:
    """The last operation that nothing which trains lies in front of."""
    if is_all:
        return ""
    alone = separators(path)
    kept = set(frozen)
    before = None
    for operation in path.operations:
        if operation.name in kept and operation.name in alone:
            before = operation.name
        if isinstance(operation, keras.Layer) and operation.name not in kept:
            break
    return before


def _in_words(which: str, blocks: tuple[Block, ...], behind: set[str]) -> str:
    if which == "norm":
        return "scales and offsets of all norms, and the head"
    trained = [block.name for block in blocks if behind & set(block.operations)]
    if not trained:
        return "the head alone"
    if len(trained) == len(blocks):
        return "all layers and the head"
    if len(trained) == 1:
        return f"{trained[0]} and the head"
    return f"{trained[0]} to {trained[-1]} ({len(trained)} of {len(blocks)} blocks) and the head"


def _depths(backbone: keras.Model, blocks: tuple[Block, ...]) -> dict[str, int]:
    of_operation = {
        name: depth for depth, block in enumerate(reversed(blocks)) for name in block.operations
    }
    return {
        variable.path: of_operation.get(layer.name, 0)
        for layer in backbone.layers
        for variable in layer.trainable_variables
    }


def _keep_statistics(head: keras.Model) -> None:
    """A head's own norms stay as they are, statistics, scales and offsets."""
    for layer in leaf_layers(head):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False

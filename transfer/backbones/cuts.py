"""Cuts: at which layers a backbone's features are taken, and how they become vectors."""

import difflib
import re
from typing import TYPE_CHECKING

from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import Backbone, find_backbone
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

BLOCKS = "blocks"
"""In place of a cut's name: one cut per block, the family's list, and the top."""
TOP = "top"
"""In place of a cut's name: the last feature map."""
AS_IT_IS = ":none"
"""Behind a layer's name: this cut is not pooled, whatever the others are."""


def layer_of(cut: str) -> str:
    """The layer that a cut's name means."""
    return cut.removesuffix(AS_IT_IS)


def pooling_of(layer: str, options: BackboneOptions) -> str:
    """How a layer's output is pooled."""
    return "none" if layer + AS_IT_IS in options.cut else options.pooling


MEASURED_FAMILIES = ("efficientnet_lite", "mobilenet_v2")
"""Where all blocks joined won on validation: CIFAR-10, linear head, 0.8746 against 0.8171 for
EfficientNetLite0 at 160 pixels, 0.8080 against 0.7278 for MobileNetV2 0.35 at 96."""


def default_cuts(options: BackboneOptions) -> tuple[str, ...]:
    """The cuts where none is asked for: all blocks where that was measured to win, or the top.

    Cuts that stay spatial or are flattened cannot be joined, or would be huge: then the top.
    """
    pooled = options.pooling in ("avg", "max")
    measured = find_backbone(options.backbone).family in MEASURED_FAMILIES
    return (BLOCKS,) if pooled and measured else (TOP,)


def cut_patterns(options: BackboneOptions) -> tuple[str, ...]:
    """The cuts asked for, without building the backbone; goes into the cache key.

    Returns:
        Sorted layer names, `top`, and regular expressions for `blocks`. Names are not checked.
    """
    row = find_backbone(options.backbone)
    patterns: set[str] = set()
    for cut in options.cut or default_cuts(options):
        patterns.update((*row.block_cuts, TOP) if cut == BLOCKS else (cut,))
    return tuple(sorted(patterns))


def top_cut(model: "keras.Model") -> str:
    """The name of the layer that makes the last feature map."""
    name: str = model.output_names[0]
    return name


def resolve_cuts(model: "keras.Model", options: BackboneOptions) -> tuple[str, ...]:
    """Names the layers that the options' cuts mean.

    Args:
        model: What `build_backbone` built from the options.
        options: Their `cut` holds layer names, `blocks` or `top`, or nothing for the default.

    Returns:
        Layer names, each once, from the input towards the top, with `:none` behind those that were
        asked for so.

    Raises:
        InputError: If the backbone has no such layer, which lists the likely ones, or one is asked
            for both with and without `:none`.
    """
    row = find_backbone(options.backbone)
    # Operations are layers and more: ConvNeXt's residual sums are no layers.
    names = [operation.name for operation in model.operations]
    chosen: set[str] = set()
    for cut in options.cut or default_cuts(options):
        if cut == BLOCKS:
            chosen.update(n for n in names if any(re.fullmatch(p, n) for p in row.block_cuts))
        elif cut != TOP:
            _check_cut(layer_of(cut), names, row)
            chosen.add(cut)
        if cut in (BLOCKS, TOP):
            chosen.add(top_cut(model))
    if twice := sorted(cut for cut in chosen if layer_of(cut) != cut and layer_of(cut) in chosen):
        raise InputError(f"cut: expected {layer_of(twice[0])} once, received {twice[0]} as well")
    return tuple(cut for name in names for cut in (name, name + AS_IT_IS) if cut in chosen)


def _check_cut(cut: str, names: list[str], row: Backbone) -> None:
    if cut in names:
        return
    likely = difflib.get_close_matches(cut, names, n=5, cutoff=0.5)
    if not likely:
        likely = [name for name in names if any(re.fullmatch(p, name) for p in row.block_cuts)][-5:]
    raise InputError(
        f"cut: {row.name} has no layer {cut!r}; take one of {', '.join(likely)}, {BLOCKS} or {TOP}"
    )


def cut_backbone(model: "keras.Model", cuts: tuple[str, ...]) -> "keras.Model":
    """Cuts a backbone at inner layers; shares its weights.

    Args:
        model: A functional model.
        cuts: Layer names as `resolve_cuts` gives them, at least one.

    Returns:
        Functional model with the same input and one output per cut, in the given order: called
        on pixels it returns a list of tensors or, as Keras has it, for one cut the tensor alone.
        Holds only the layers that these need.
    """
    import keras

    outputs = {operation.name: operation.output for operation in model.operations}
    tensors = [outputs[layer_of(cut)] for cut in cuts]
    return keras.Model(model.input, tensors, name="backbone")


def pool(tensor: "keras.KerasTensor", pooling: str, name: str) -> "keras.KerasTensor":
    """Makes one cut's output a vector per image.

    Args:
        tensor: `(batch, rows, columns, channels)`, or `(batch, features)`, which passes unchanged.
        pooling: `avg` or `max` over all positions, to `(batch, channels)`; `flatten`, to
            `(batch, rows * columns * channels)`; or `none`, unchanged.
        name: Name of the added layer.

    Raises:
        InputError: If the pooling is unknown.
    """
    import keras

    kinds = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    if pooling not in kinds and pooling != "none":
        raise InputError(f"pooling: expected avg, max, flatten or none, received {pooling!r}")
    if pooling == "none" or len(tensor.shape) == 2:
        return tensor
    return kinds[pooling](name=name)(tensor)

"""The backbones stage: which there are, and the blocks of one; only the latter imports Keras."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from pipelines.results import print_table
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import BACKBONES, find_backbone
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

    from transfer.backbones.blocks import Block

NUM_IMAGES = 8
"""Images of one pass that is timed."""


@dataclass(frozen=True)
class BackbonesStage:
    """List backbones, or show the blocks of one from input to top, and what each costs."""

    action: Positional[Literal["list", "show"]] = "list"
    """list: all backbones; show: the blocks of one."""
    backbone: Positional[str] = ""
    """show: its name."""
    image_size: int | None = None
    """show: side in pixels of the square images it sees; by default its own."""
    alpha: float = 1.0
    """show: width multiplier; MobileNet, MobileNetV2 and MobileNetV3 only."""


def run(stage: BackbonesStage) -> None:
    """Prints the table that is asked for.

    Raises:
        InputError: If the backbone is missing or unknown, or an option does not fit.
    """
    if stage.action == "show":
        _show(stage)
    else:
        _list(stage)


def _list(stage: BackbonesStage) -> None:
    if stage != BackbonesStage():
        raise InputError(
            "transfer backbones list takes no name and no options; for the blocks of one run "
            "transfer backbones show NAME"
        )
    rows = [
        [row.name, row.image_size, row.min_image_size, row.num_features]
        for row in BACKBONES.values()
    ]
    print_table("backbones", ["name", "image size", "smallest", "features at the top"], rows)
    print(f"backbones: {len(rows)}; transfer backbones show NAME lists the blocks of one")


def _show(stage: BackbonesStage) -> None:
    if not stage.backbone:
        raise InputError(
            "transfer backbones show expects a backbone, received none; see transfer backbones list"
        )
    row = find_backbone(stage.backbone)
    options = BackboneOptions(
        row.name, weights="none", alpha=stage.alpha, image_size=stage.image_size
    )
    side, _ = options.resolved_image_size()
    from transfer.backend.startup import import_keras

    import_keras()
    from transfer.backbones.block_times import time_blocks
    from transfer.backbones.blocks import blocks_of
    from transfer.backbones.building import build_backbone

    model = build_backbone(options)
    blocks = blocks_of(model)
    seconds = time_blocks(model, blocks, NUM_IMAGES)
    title = (
        f"{row.name} @{side}: {model.count_params():,} parameters, "
        f"{NUM_IMAGES} images in {sum(seconds):.2f} s"
    )
    columns = ["block", "layers", "parameters", "in norms", "output", "time"]
    print_table(title, columns, block_rows(model, blocks, seconds))
    print(
        "backbones: `--unfreeze blocks:N` trains the last N of these and the head, NAME this block "
        "and all behind it"
    )


def block_rows(
    model: "keras.Model", blocks: "Sequence[Block]", seconds: Sequence[float]
) -> list[list[object]]:
    """Rows of the table of blocks.

    Args:
        model: The backbone.
        blocks: Its blocks, as `blocks_of` gives them.
        seconds: What each of them takes.

    Returns:
        A row for each: name, number of layers, of parameters, of those in norms, rows x columns x
        channels of the output, and share of the time.
    """
    operations = {operation.name: operation for operation in model.operations}
    rows: list[list[object]] = []
    for block, time in zip(blocks, seconds, strict=True):
        parameters, in_norms = _parameters([operations[name] for name in block.operations])
        shape = operations[block.operations[-1]].output.shape[1:]
        rows.append(
            [
                block.name,
                len(block.operations),
                f"{parameters:,}",
                f"{in_norms:,}",
                " x ".join(map(str, shape)),
                f"{100 * time / sum(seconds):.1f}%",
            ]
        )
    return rows


def _parameters(operations: "Sequence[keras.Operation]") -> tuple[int, int]:
    """Numbers in the weights of a block, and how many of them are in its norms."""
    import keras

    from transfer.backend.layers import leaf_layers

    norms = (
        keras.layers.BatchNormalization,
        keras.layers.LayerNormalization,
        keras.layers.Normalization,
    )
    # Sums may be operations that are no layers; they have no weights.
    layers = [one for one in operations if isinstance(one, keras.Layer)]
    leaves = [leaf for layer in layers for leaf in leaf_layers(layer)]
    return (
        sum(leaf.count_params() for leaf in leaves),
        sum(leaf.count_params() for leaf in leaves if isinstance(leaf, norms)),
    )

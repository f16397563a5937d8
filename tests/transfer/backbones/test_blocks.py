"""Blocks: every family's, in order, whole, and cut only where the network is one layer wide."""

import keras
import pytest

from tests.transfer.backbones.random_backbones import random_options, shapes_only
from transfer.backbones.block_times import time_blocks
from transfer.backbones.blocks import Block, blocks_of, separators
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone
from transfer.backbones.table import BACKBONES

SMALLEST = {
    "ConvNeXtTiny": ("stem", "stage_0_block_0", "stage_3_block_2", "top", 23),
    "DenseNet121": ("stem", "conv2_block1", "conv5_block16", "top", 63),
    "EfficientNetB0": ("stem", "block1a", "block7a", "top", 18),
    "EfficientNetLite0": ("stem", "block1a", "block7a", "top", 18),
    "EfficientNetV2B0": ("stem", "block1a", "block6h", "top", 23),
    "InceptionResNetV2": ("stem", "mixed_5b", "block8_10", "top", 45),
    "InceptionV3": ("stem", "mixed0", "mixed9", "mixed10", 12),
    "MobileNet": ("stem", "conv_1", "conv_12", "conv_13", 14),
    "MobileNetV2": ("stem", "expanded_conv", "block_16", "top", 19),
    "MobileNetV3Small": ("stem", "expanded_conv", "expanded_conv_10", "top", 13),
    "NASNetMobile": ("stem", "reduction_concat_stem_1", "normal_concat_12", "top", 18),
    "ResNet50": ("stem", "conv2_block1", "conv5_block2", "conv5_block3", 17),
    "ResNet50V2": ("stem", "conv2_block1", "conv5_block3", "top", 18),
    "VGG16": ("block1", "block2", "block4", "block5", 5),
    "VGG19": ("block1", "block2", "block4", "block5", 5),
    "Xception": ("block1", "block2", "block13", "block14", 14),
}
"""The smallest member of each family: its first two and last two blocks, and their number."""
SUMS = {
    "ConvNeXtTiny": ("stage_1_block_2", "add_5"),
    "EfficientNetB0": ("block4c", "block4c_add"),
    "EfficientNetLite0": ("block6d", "block6d_add"),
    "EfficientNetV2B0": ("block6h", "block6h_add"),
    "InceptionResNetV2": ("block35_1", "block35_1_ac"),
    "MobileNetV2": ("block_15", "block_15_add"),
    "MobileNetV3Small": ("expanded_conv_2", "expanded_conv_2_add"),
    "ResNet50": ("conv4_block2", "conv4_block2_out"),
    "ResNet50V2": ("conv4_block2", "conv4_block2_out"),
    "Xception": ("block13", "add_11"),
}
"""Where residual blocks are whole again."""


@pytest.fixture(scope="module")
def built():
    """Backbones by name; each is built once, without memory."""
    models = {}

    def build(name):
        if name not in models:
            with shapes_only():
                models[name] = build_backbone(random_options(name))
        return models[name]

    return build


def readers(model):
    """Who reads whose output; from Keras's nodes, not from the tensors that blocks.py looks at."""
    reading = {operation.name: set() for operation in model.operations}
    for operation in model.operations:
        for parent in operation._inbound_nodes[0].parent_nodes:
            reading[parent.operation.name].add(operation.name)
    return reading


def reaches_an_output(model, reading, removed):
    """Whether a path leads from the input to an output that goes around an operation."""
    waiting, seen = [model.operations[0].name], {removed}
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            waiting.extend(reading[one])
    return bool(set(model.output_names) & (seen - {removed}))


def test_every_family_is_tested():
    families = {BACKBONES[name].family for name in SMALLEST}
    assert families == {row.family for row in BACKBONES.values()}


@pytest.mark.parametrize("name", SMALLEST)
def test_blocks_have_the_names_of_the_family_in_order(name, built):
    blocks = blocks_of(built(name))
    names = [block.name for block in blocks]
    assert (*names[:2], *names[-2:], len(names)) == SMALLEST[name]
    assert len({*names}) == len(names)


@pytest.mark.parametrize("name", SMALLEST)
def test_every_operation_but_the_input_is_in_one_block(name, built):
    model = built(name)
    order = [operation.name for operation in model.operations]
    blocks = blocks_of(model)
    assert sorted(one for block in blocks for one in block.operations) == sorted(order[1:])
    for block in blocks:
        assert [*block.operations] == [one for one in order if one in block.operations]


@pytest.mark.parametrize("name", SMALLEST)
def test_nothing_is_computed_from_a_later_block(name, built):
    model, reading = built(name), readers(built(name))
    place = {
        one: number for number, block in enumerate(blocks_of(model)) for one in block.operations
    }
    for one, number in place.items():
        assert all(place[reader] >= number for reader in reading[one]), one


@pytest.mark.parametrize("name", SMALLEST)
def test_removing_a_separator_and_nothing_else_disconnects_the_output(name, built):
    model, reading = built(name), readers(built(name))
    alone = [
        operation.name
        for operation in model.operations[1:]
        if not reaches_an_output(model, reading, operation.name)
    ]
    assert list(separators(model)) == alone
    for block in blocks_of(model):
        last = block.operations[-1]
        assert block.output == (last if last in alone else None)


@pytest.mark.parametrize("name", SMALLEST)
def test_all_blocks_but_nasnets_cells_can_be_cut(name, built):
    without = [block.name for block in blocks_of(built(name)) if block.output is None]
    if name == "NASNetMobile":  # each cell reads from two before it
        assert len(without) == 15
        assert all("_concat_" in block for block in without)
    else:
        assert without == []


@pytest.mark.parametrize("name", SUMS)
def test_residual_blocks_end_with_their_sum(name, built):
    block, output = SUMS[name]
    assert {one.name: one.output for one in blocks_of(built(name))}[block] == output


def test_branches_of_automatic_names_belong_to_the_layer_that_joins_them(built):
    (mixed0,) = (block for block in blocks_of(built("InceptionV3")) if block.name == "mixed0")
    convolutions = [one for one in mixed0.operations if one.startswith("conv2d")]
    assert sorted(convolutions) == sorted(f"conv2d_{number}" for number in range(5, 12))
    (second,) = (block for block in blocks_of(built("Xception")) if block.name == "block2")
    assert {"conv2d", "batch_normalization", "add"} <= {*second.operations}


@pytest.mark.parametrize("name", ["EfficientNetV2S", "MobileNetV3Large", "NASNetLarge"])
def test_larger_members_have_blocks_of_the_same_names(name, built):
    blocks = blocks_of(built(name))
    assert (blocks[0].name, blocks[-1].name) == ("stem", "top")
    assert max(len(block.operations) for block in blocks[:1] + blocks[-1:]) <= 5


def test_a_cut_backbone_has_the_blocks_that_it_holds(built):
    model = built("InceptionV3")
    whole = blocks_of(model)
    names = [block.name for block in whole]
    until = names.index("mixed7") + 1
    assert blocks_of(cut_backbone(model, ("mixed7",))) == whole[:until]


def test_behind_the_first_of_several_cuts_nothing_leads_on_alone(built):
    model = built("ConvNeXtTiny")
    cut = cut_backbone(model, ("add_2", "layer_normalization"))
    found = blocks_of(cut)
    assert [block.operations for block in found] == [block.operations for block in blocks_of(model)]
    assert [block.name for block in found if block.output] == [
        *["stem", "stage_0_block_0", "stage_0_block_1", "stage_0_block_2"]
    ]
    assert separators(cut)[-1] == "add_2"


def test_another_network_is_one_block():
    inputs = keras.Input((8, 8, 3))
    inner = keras.layers.Conv2D(2, 3, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.ReLU(name="last")(inner))
    assert blocks_of(model) == (Block("top", ("first", "last"), "last"),)


def test_every_block_takes_time():
    model = build_backbone(random_options("MobileNetV3Small"))  # with operations that are no layers
    blocks = blocks_of(model)
    seconds = time_blocks(model, blocks, num_images=1, repetitions=1)
    assert len(seconds) == len(blocks)
    assert all(0 < one < 5 for one in seconds)


def test_blocks_that_read_from_several_before_them_are_timed():
    inputs = keras.Input((8, 8, 3))
    first = keras.layers.Conv2D(2, 1, name="normal_concat_0")(inputs)
    second = keras.layers.Conv2D(2, 1, name="normal_concat_1")(first)
    third = keras.layers.Add(name="normal_concat_2")([first, second])
    model = keras.Model(inputs, third)
    blocks = blocks_of(model)
    assert [block.output for block in blocks] == ["normal_concat_0", None, "normal_concat_2"]
    assert len(time_blocks(model, blocks, num_images=1, repetitions=1)) == 3

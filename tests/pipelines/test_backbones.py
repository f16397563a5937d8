"""`transfer backbones`: all of them without Keras, and the blocks of one."""

import subprocess
import sys

import pytest

from pipelines.backbones import block_rows
from pipelines.cli import main
from tests.pipelines.small_runs import refused
from tests.transfer.backbones.random_backbones import random_options, shapes_only
from transfer.backbones.blocks import blocks_of
from transfer.backbones.building import build_backbone
from transfer.backbones.table import BACKBONES

SMALL = ["MobileNetV2", "--image-size", "32", "--alpha", "0.35"]


def cells(said):
    """The cells of each line of the tables that were printed."""
    lines = [line for line in said.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize("words", [[], ["list"]])
def test_all_backbones_are_listed(words, capsys):
    assert main(["backbones", *words]) == 0
    listed = {name: sizes for name, *sizes in cells(capsys.readouterr().out)}
    assert set(listed) == set(BACKBONES)
    assert listed["InceptionV3"] == ["299", "75", "2048"]


def test_the_list_needs_no_keras():
    program = (
        "import sys; from pipelines.cli import main; main(['backbones'])\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)


def test_blocks_of_a_backbone_from_the_input_to_the_top(capsys):
    assert main(["backbones", "show", *SMALL]) == 0
    said = capsys.readouterr().out
    rows = {name: row for name, *row in cells(said)}
    assert [*rows] == ["stem", "expanded_conv", *(f"block_{n}" for n in range(1, 17)), "top"]
    assert rows["stem"][:4] == ["3", "496", "64", "16 x 16 x 16"]
    assert rows["block_16"][3] == "1 x 1 x 112"
    model = build_backbone(random_options("MobileNetV2", alpha=0.35))
    parameters = [int(row[1].replace(",", "")) for row in rows.values()]
    in_norms = [int(row[2].replace(",", "")) for row in rows.values()]
    assert sum(parameters) == model.count_params()
    norms = [layer for layer in model.layers if "Normalization" in type(layer).__name__]
    assert sum(in_norms) == sum(layer.count_params() for layer in norms)
    assert sum(int(row[0]) for row in rows.values()) == len(model.layers) - 1
    shares = [float(row[4].rstrip("%")) for row in rows.values()]
    assert all(share > 0 for share in shares)
    assert sum(shares) == pytest.approx(100, abs=1)
    assert said.splitlines()[-1].startswith("backbones: `--unfreeze blocks:N` trains the last N")


def test_layers_within_layers_are_counted_and_sums_weigh_nothing():
    with shapes_only():
        model = build_backbone(random_options("ConvNeXtTiny"))
    blocks = blocks_of(model)
    rows = {name: row for name, *row in block_rows(model, blocks, [2.0] * len(blocks))}
    # A convolution of 4 x 4 x 3 to 96 with biases, and a norm of 96.
    assert rows["stem"] == [2, "4,896", "192", "8 x 8 x 96", "4.3%"]
    assert rows["stage_0_block_0"][:3] == [8, "79,296", "192"]
    parameters = [int(row[1].replace(",", "")) for row in rows.values()]
    assert sum(parameters) == model.count_params()


MISTAKES = {
    "a wrong name": (["show", "EfficientNetLite9"], "choose one of EfficientNetLite2"),
    "no name": (["show"], "expects a backbone, received none"),
    "a name with list": (["list", "VGG16"], "takes no name"),
    "an option with list": (["--image-size", "64"], "takes no name and no options"),
    "no such action": (["remove"], "remove"),
    "an image too small": (["show", "InceptionV3", "--image-size", "74"], "at least 75"),
    "no width": (["show", "VGG16", "--image-size", "32", "--alpha", "0.5"], "no width multiplier"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(mistake, capsys):
    words, expected = MISTAKES[mistake]
    (line,) = refused(capsys, "backbones", *words).splitlines()
    assert expected in line

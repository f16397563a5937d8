"""Python in the documents runs as it stands there."""

import pytest

from pipelines.cli import main
from tests.docs.documents import DOCUMENTS, blocks

PYTHON = [
    block for document in DOCUMENTS for block in blocks(document) if block.language == "python"
]


def test_there_are_python_blocks():
    assert len(PYTHON) >= 2


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A reader's folder, with a small feature file in its artifacts."""
    folder = tmp_path_factory.mktemp("place")
    features = ["features", "--data", "digits", "--limit-per-class", "4", "--image-size", "32"]
    network = ["--backbone", "MobileNetV2", "--alpha", "0.35", "--weights", "none", "--cut", "top"]
    assert main([*features, *network, "--artifacts", str(folder / "artifacts")]) == 0
    return folder


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_python_block_runs(block, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    exec(compile(block.text, block.place, "exec"), {})
    said = capsys.readouterr().out
    assert said
    if printed := printed_below(block):
        assert said == printed


def printed_below(block):
    """What the document says that a block prints, where it says so."""
    at = blocks(block.document).index(block) + 1
    following = blocks(block.document)[at : at + 1]
    behind = block.line + block.text.count("\n") + 3  # the two fences, and an empty line
    return next((b.text for b in following if (b.language, b.line) == ("text", behind)), None)

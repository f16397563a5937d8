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
    names = {}
    exec(compile(block.text, block.place, "exec"), names)
    assert "print(" not in block.text or capsys.readouterr().out
    if "fitted" in names:  # what a block trains has to learn
        assert names["fitted"].best["val_accuracy"] > 0.9
        assert names["scores"].accuracy > 0.9

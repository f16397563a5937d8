"""Evaluation: scores and pictures of a split."""

import json

import numpy as np
import pytest

from pipelines.cli import main
from tests.pipelines.small_runs import options


def test_evaluate_scores_the_test_split(trained, place, capsys):
    assert main(["evaluate", *options(place)]) == 0
    assert "On the test split" in capsys.readouterr().out
    result = json.loads((trained / "evaluation-test.json").read_text())
    scores = result["models"]["head"]
    confusion = np.array(scores["confusion"])
    assert confusion.sum() == scores["num_images"]
    assert scores["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    for picture in ("confusion-head.png", "architecture-head.png", "predictions-head.png"):
        assert (trained / picture).stat().st_size > 5000

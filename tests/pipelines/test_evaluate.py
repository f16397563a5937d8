"""Evaluation: scores and pictures of a split."""

import json
import shutil

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


def test_models_whose_files_are_called_alike_are_all_shown(trained, place, capsys):
    paths = [place / one / "classifier.keras" for one in ("first", "second")]
    for path in paths:
        path.parent.mkdir()
        shutil.copy(trained / "classifier.keras", path)
    words = ["--models", *map(str, paths), str(paths[0]), "--split", "val"]
    assert main(["evaluate", *options(place, *words)]) == 0
    models = json.loads((trained / "evaluation-val.json").read_text())["models"]
    assert list(models) == ["head", "first/classifier", "second/classifier"]
    said = capsys.readouterr().out
    assert "│ first/classifier " in said and "second/classifier, class by class" in said
    for name in ("head", "first-classifier", "second-classifier"):
        assert (trained / f"confusion-{name}.png").stat().st_size > 5000

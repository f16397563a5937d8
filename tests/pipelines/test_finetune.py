"""Fine-tuning: from the head on, and only from a head for these features."""

import json

import pytest

from pipelines.cli import main
from tests.pipelines.small_runs import options, refused


def test_finetune_starts_where_the_head_is_and_is_evaluated_beside_it(trained, place, capsys):
    tuning = ["--unfreeze", "3", "--epochs", "2", "--batch-size", "8"]
    assert main(["finetune", *options(place, *tuning)]) == 0
    head = json.loads((trained / "head.json").read_text())
    result = json.loads((trained / "finetune.json").read_text())
    assert result["before"]["val_loss"] == pytest.approx(head["val_loss"], abs=1e-3)
    assert f"{head['val_accuracy']:.4f} from cached features" in capsys.readouterr().out
    assert not (trained / "finetune-checkpoints").exists()
    assert main(["evaluate", *options(place, "--split", "val", "--no-pictures")]) == 0
    scores = json.loads((trained / "evaluation-val.json").read_text())["models"]
    assert scores["finetuned"]["accuracy"] == pytest.approx(result["after"]["val_accuracy"])
    assert scores["finetuned"]["loss"] == pytest.approx(result["after"]["val_loss"], abs=1e-4)
    assert scores["head"]["loss"] == pytest.approx(head["val_loss"], abs=1e-4)


def test_a_head_for_other_features_is_not_fine_tuned(trained, place, capsys):
    arguments = options(place, "--pooling", "max")
    assert "was trained on features" in refused(capsys, "finetune", *arguments)
    assert "was trained on features" in refused(capsys, "evaluate", *arguments)

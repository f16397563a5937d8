"""Evaluation: scores and pictures of a split."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.evaluating.predictions import predictions_path, read_predictions
from pipelines.models import read_head
from pipelines.out_of_fold import read_out_of_fold
from tests.pipelines.small_runs import options
from transfer.classifier import load_classifier, read_card, save_classifier
from transfer.errors import InputError


def test_evaluate_scores_the_test_split(trained, place, capsys):
    assert main(["evaluate", *options(place)]) == 0
    assert "On the test split" in capsys.readouterr().out
    result = json.loads((trained / "evaluation-test.json").read_text())
    scores = result["models"]["head"]
    confusion = np.array(scores["confusion"])
    assert confusion.sum() == scores["num_images"]
    assert scores["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    for kind in ("confusion", "reliability", "architecture", "predictions"):
        assert (trained / f"{kind}-head.png").stat().st_size > 5000


def test_what_each_image_was_taken_for_is_kept(trained, place):
    assert read_predictions(trained, "train") is None
    second = place / "second.keras"
    shutil.copy(trained / "classifier.keras", second)
    assert main(["evaluate", *options(place, "--no-pictures", "--models", str(second))]) == 0
    said = read_predictions(trained, "test")
    scores = json.loads((trained / "evaluation-test.json").read_text())
    assert said.head_id == read_head(trained)["id"]
    assert list(said.probabilities) == list(scores["models"]) == ["head", "second"]
    for name, one in scores["models"].items():
        confusion = np.zeros_like(one["confusion"])
        np.add.at(confusion, (said.labels, said.probabilities[name].argmax(1)), 1)
        assert confusion.tolist() == one["confusion"]
        assert said.right(name).mean() == one["accuracy"]
    folders = [id.split("/")[0] for id in said.ids]
    assert folders == said.class_names[said.labels].tolist()


def test_broken_predictions_are_told(trained):
    path = predictions_path(trained, "val")
    path.write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"evaluation-val\.npz expects .* evaluate again"):
        read_predictions(trained, "val")
    path.unlink()


def test_calibration_is_told_before_and_after(trained, place, capsys):
    path = place / "cooler.keras"
    model, card = load_classifier(trained / "classifier.keras")
    save_classifier(model, replace(card, temperature=0.5), path)
    words = ["--no-pictures", "--models", str(path)]
    assert main(["evaluate", *options(place, *words)]) == 0
    models = json.loads((trained / "evaluation-test.json").read_text())["models"]
    assert read_card(trained / "classifier.keras").temperature == read_head(trained)["temperature"]
    error, before = (models["cooler"][f"{name}_error"] for name in ("calibration", "uncalibrated"))
    assert error == pytest.approx(models["head"]["calibration_error"], abs=1e-4)
    assert abs(error - before) > 0.01
    assert f"{before:.4f} -> {error:.4f}" in capsys.readouterr().out


def test_thresholds_are_chosen_by_other_images_than_they_are_told_on(trained, place, capsys):
    words = ["--no-pictures", "--threshold-for", "recall=0.5"]
    assert main(["evaluate", *options(place, *words)]) == 0
    said = read_out_of_fold(trained / "classifier.keras")
    result = json.loads((trained / "evaluation-test.json").read_text())
    told = result["thresholds"]["head"]
    assert told["chosen_by"] == len(said.labels) > 0
    assert (told["for"], len(told["classes"])) == ("recall=0.5", said.probabilities.shape[1])
    for number, one in enumerate(told["classes"]):
        of_class = said.labels == number
        above = said.probabilities[:, number] >= one["threshold"]
        assert one["recall"] == pytest.approx(above[of_class].mean())
        assert one["recall"] >= 0.5
        assert one["images"] == above.sum()
        assert one["here"]["threshold"] == one["threshold"]
    supports = [scores["support"] for scores in result["models"]["head"]["per_class"]]
    for support, one in zip(supports, told["classes"], strict=True):
        hits = one["here"]["recall"] * support
        assert hits == pytest.approx(round(hits))
    assert "thresholds for recall=0.5, chosen by" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--threshold-for", "precision"], "expects precision=SHARE or recall=SHARE"),
        (["--threshold-for", "f1=0.9"], "received 'f1=0.9'"),
        (["--threshold-for", "recall=0"], "a share above 0 and up to 1, received 'recall=0'"),
        (["--threshold-for", "recall=1", "--split", "val"], "expects --split test, received val"),
    ],
)
def test_thresholds_that_cannot_be_had_are_refused(trained, place, capsys, words, error):
    assert main(["evaluate", *options(place, *words)]) == 2
    assert error in capsys.readouterr().err


def test_a_file_that_does_not_say_what_it_made_of_others_has_no_thresholds(trained, place, capsys):
    path = place / "foreign.keras"
    model, card = load_classifier(trained / "classifier.keras")
    save_classifier(model, card, path)
    words = ["--no-pictures", "--threshold-for", "precision=0.3", "--models", str(path)]
    assert main(["evaluate", *options(place, *words)]) == 0
    assert "no thresholds for foreign" in capsys.readouterr().out
    result = json.loads((trained / "evaluation-test.json").read_text())
    assert list(result["thresholds"]) == ["head"]
    assert list(result["models"]) == ["head", "foreign"]


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

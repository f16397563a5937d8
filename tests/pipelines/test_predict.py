"""Predictions: of images that are named, by the better model."""

import csv
import json
import os
import zipfile

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.predict import _write, default_model
from tests.pipelines.small_runs import photographs, refused


def test_predict_writes_what_the_model_says(trained, place, capsys):
    model = ["--model", str(trained / "classifier.keras")]
    images = ["--images", str(place / "photos" / "cat"), str(place / "photos" / "dog" / "00?.png")]
    for name in ("out.json", "out.csv"):
        assert main(["predict", *model, *images, "--top", "2", "--output", str(place / name)]) == 0
    predictions = json.loads((place / "out.json").read_text())
    assert len(predictions) == 24 + 10
    truth = ["cat"] * 24 + ["dog"] * 10
    right = [p["class"] == name for p, name in zip(predictions, truth, strict=True)]
    assert np.mean(right) > 0.7
    sums = [sum(entry["probability"] for entry in p["top"]) for p in predictions]
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    with (place / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["class_1"] for line in lines] == [p["class"] for p in predictions]
    capsys.readouterr()
    assert main(["predict", *model, "--images", predictions[0]["image"]]) == 0
    assert predictions[0]["class"] in capsys.readouterr().out


def test_predict_names_files_that_are_no_images(trained, place, tmp_path, capsys):
    good = photographs(tmp_path, classes=("cat",), count=1) / "cat" / "000.png"
    (tmp_path / "cat" / "text.jpg").write_text("no image")
    arguments = ["predict", "--model", str(trained / "classifier.keras"), "--images"]
    assert "text.jpg" in refused(capsys, *arguments, str(good.parent))
    assert main([*arguments, str(good.parent), "--bad-images", "skip"]) == 0
    said = capsys.readouterr()
    assert "1 images" in said.out
    assert "text.jpg" in said.err
    only_text = str(tmp_path / "cat" / "text.jpg")
    assert "at least one image" in refused(capsys, *arguments, only_text, "--bad-images", "skip")
    assert "found none" in refused(capsys, *arguments, str(tmp_path / "*.webp"))


def test_names_of_any_bytes_are_written_as_they_are(tmp_path):
    path = os.fsdecode(b"/a/\xff\xfe [x].jpg")
    best = [{"class": "cat", "probability": 0.9}]
    _write([{"image": path, "top": best}], tmp_path / "out.csv")
    (_, line) = (tmp_path / "out.csv").read_bytes().splitlines()
    assert line == b"/a/\xff\xfe [x].jpg,cat,0.9"


def keep(path, member, values):
    """Writes what is asked of a saved classifier here: a result inside of it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, json.dumps(values))


@pytest.mark.parametrize(
    ("after", "chosen"),
    [
        (None, "classifier.keras"),
        ((0.91, 0.4), "classifier.keras"),
        ((0.9, 0.29), "finetuned.keras"),
        ((0.91, 0.3), "finetuned.keras"),
        ((0.9, 0.3), "classifier.keras"),
        ((0.89, 0.1), "finetuned.keras"),
    ],
)
def test_predict_takes_the_better_classifier(tmp_path, after, chosen):
    head = {"id": "one", "val_accuracy": 0.9, "val_loss": 0.3}
    keep(tmp_path / "classifier.keras", "head.json", head)
    if after:
        scores = {"val_accuracy": after[0], "val_loss": after[1]}
        before = {"val_accuracy": 0.9, "val_loss": 0.3}
        tuned = {"head_id": "one", "before": before, "after": scores}
        keep(tmp_path / "finetuned.keras", "finetune.json", tuned)
    assert default_model(tmp_path) == tmp_path / chosen

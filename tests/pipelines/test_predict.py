"""Predictions: of images that are named, by the better model."""

import csv
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.predict import default_model
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


ODD = [b"caf\xe9.png", b'a,b"c.png', b"new\nline.png", b"[x] y.png", b"\x1b[31m.png"]
AS_TEXT = [r"caf\xe9.png", 'a,b"c.png', "new\nline.png", "[x] y.png", "\x1b[31m.png"]
IN_A_LINE = [r"caf\xe9.png", 'a,b"c.png', r"new\nline.png", "[x] y.png", r"\x1b[31m.png"]


def test_odd_names_of_files_come_through_in_every_form(trained, tmp_path, monkeypatch, capsys):
    (one,) = photographs(tmp_path, classes=("cat",), count=1).rglob("*.png")
    for name in ODD:
        (tmp_path / os.fsdecode(name)).write_bytes(one.read_bytes())
    monkeypatch.chdir(tmp_path)
    words = ["predict", "--model", str(trained / "classifier.keras"), "--images"]
    words += [os.fsdecode(name) for name in ODD]
    assert main(words) == 0
    cells = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines()[4:-1]]
    assert cells == IN_A_LINE
    for output in ("out.csv", "out.json"):
        assert main([*words, "--output", output]) == 0
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert [line["image"] for line in csv.DictReader(file)] == AS_TEXT
    listed = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert [entry["image"] for entry in listed] == AS_TEXT


def test_standard_input_is_an_image_or_names_some(trained, place, tmp_path, monkeypatch, capsys):
    words = ["predict", "--model", str(trained / "classifier.keras"), "--images", "-"]
    paths = sorted((place / "photos" / "dog").iterdir())[:3]

    def predicted(content, *more):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        output = tmp_path / "out.json"
        assert main([*words, *more, "--output", str(output)]) == 0
        return json.loads(output.read_text(encoding="utf-8"))

    named = predicted("\n".join(map(str, paths[:2])).encode(), str(paths[2]))
    assert sorted(entry["image"] for entry in named) == [str(path) for path in paths]
    (alone,) = predicted(paths[0].read_bytes())
    assert alone["image"] == "-"
    (same,) = (entry for entry in named if entry["image"] == str(paths[0]))
    assert alone["top"] == same["top"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(paths[0].read_bytes())))
    assert "an image on standard input alone" in refused(capsys, *words, str(paths[1]))

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
from pipelines.given_images import find_images
from pipelines.models import default_model
from tests.pipelines.small_runs import photographs, refused
from transfer.errors import InputError


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
    assert "1 image " in said.out
    assert "text.jpg" in said.err
    only_text = str(tmp_path / "cat" / "text.jpg")
    assert "at least one image" in refused(capsys, *arguments, only_text, "--bad-images", "skip")
    assert "found none" in refused(capsys, *arguments, str(tmp_path / "*.webp"))


def filled(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def trips(tmp_path, monkeypatch):
    """Holidays as people keep them, in the working directory."""
    filled(tmp_path, "t[1]/a.jpg", "t[1]/b.TIF", "t[1]/day 1/c.heic", "t[1]/notes.txt")
    filled(tmp_path, "t[1]/._a.jpg", "t[1]/@eaDir/a.jpg/thumb.jpg", "t[1]/Thumbs.db")
    filled(tmp_path, "t2/d.jpg", "t2/e.txt", "elsewhere/f.png")
    (tmp_path / "t2" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "t2")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found", "left_out"),
    [
        ("t[1]", ["t[1]/a.jpg", "t[1]/b.TIF", "t[1]/day 1/c.heic"], "1 .txt, 2 hidden files"),
        ("t[1]/*.jpg", ["t[1]/a.jpg"], ""),
        ("t[1]/[ab].*", ["t[1]/a.jpg", "t[1]/b.TIF"], ""),
        ("t[1]/**/*.heic", ["t[1]/day 1/c.heic"], ""),
        ("t[1]/*", ["t[1]/a.jpg", "t[1]/b.TIF", "t[1]/day 1/c.heic"], "1 .txt, 1 hidden file"),
        ("t[1]/a.jpg", ["t[1]/a.jpg"], ""),
        ("t[1]/._a.jpg", ["t[1]/._a.jpg"], ""),
        ("t2", ["t2/d.jpg", "t2/link/f.png"], "1 .txt"),
        ("t[2]/*.jpg", ["t2/d.jpg"], ""),
        ("t?/**/*.png", ["t2/link/f.png"], ""),
        ("t2/**", ["t2/d.jpg", "t2/link/f.png"], "1 .txt"),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_images_are_found_as_training_finds_them(trips, capsys, pattern, found, left_out, absolute):
    paths = find_images((str(trips / pattern) if absolute else pattern,))
    assert paths == [trips / name if absolute else Path(name) for name in found]
    assert capsys.readouterr().err == (f"predict: left out {left_out}\n" if left_out else "")


def test_what_is_left_out_is_said_once_and_each_image_taken_once(trips, capsys):
    paths = find_images(("t2", "t2/*.jpg", "t[1]"))
    assert len(paths) == len(set(paths)) == 5
    assert capsys.readouterr().err == "predict: left out 2 .txt, 2 hidden files\n"


def test_patterns_that_find_no_image_say_what_they_found(trips):
    for pattern in ("t[3]/*.jpg", "gone.jpg", "gone/**", "t2/d.jpg/**/x"):
        with pytest.raises(InputError, match=r"found none; check the path"):
            find_images((pattern,))
    with pytest.raises(InputError, match=r"found none but 1 \.txt; check"):
        find_images(("t2/*.txt",))


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
    assert default_model(tmp_path, "predict") == tmp_path / chosen


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
    said = capsys.readouterr().out.splitlines()
    cells = [line.split("│")[1].strip() for line in said if line.startswith("│")]
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

"""The command line as a user types it: mistakes and help."""

import pytest

from pipelines.cli import main, parse
from tests.pipelines.small_runs import SMALL, refused

DIGITS = ["--data", "digits", *SMALL]
MISTAKES = {
    "no such stage": (["nope"], "expected a stage"),
    "unknown option": (["features", "--nope", "1"], "--nope"),
    "a word for a number": (["head", "--epochs", "many"], "--epochs"),
    "an impossible number": (["head", "--epochs", "0"], "--epochs expects at least 1"),
    "a missing path": (["features", "--data", "/nowhere"], "/nowhere"),
    "no such backbone": (["features", "--backbone", "MobileNetV9"], "MobileNetV3"),
    "no such recipe": (["features", "--recipe", "nope"], "cifar10-mobilenetv2"),
    "an image too small": (
        ["features", "--data", "digits", "--backbone", "InceptionV3", "--image-size", "74"],
        "at least 75",
    ),
    "no such layer": (
        ["features", "--data", "digits", *SMALL, "--cut", "block_2_ad"],
        "block_2_add",
    ),
    "no such weights": (["features", "--data", "digits", "--weights", "/none.h5"], "/none.h5"),
    "a fraction too large": (["features", *DIGITS, "--val-fraction", "1"], "1"),
    "a head before features": (["evaluate", "--artifacts", "/nowhere"], "transfer head"),
    "predict without images": (["predict"], "--images"),
    "predict before head": (
        ["predict", "--images", __file__, "--artifacts", "/nowhere"],
        "/nowhere/runs/cifar10-mobilenetv2/classifier.keras",
    ),
    "structure without folders": (["structure"], "--source"),
    "a word that no option takes": (["export", "photos"], "photos"),
    "two words for one": (["features", "photos", "others"], "others"),
    "no folder": (["features", *DIGITS, "--artifacts", "/dev/null/x"], "/dev/null/x"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(mistake, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = MISTAKES[mistake]
    said = refused(capsys, *arguments)
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_help_comes_from_the_options(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "finetune" in said
    assert "cifar10-inceptionv3" in said
    with pytest.raises(SystemExit) as stop:
        main(["head", "--recipe", "demo", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--label-smoothing" in said
    assert "EfficientNetLite0" in said  # the recipe's values show as defaults


def test_words_in_front_of_the_flags_are_images_or_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("predict", ["a.jpg", "b.jpg", "--top", "2"]).images == ("a.jpg", "b.jpg")
    assert parse("predict", ["-", "--top", "2"]).images == ("-",)
    assert parse("predict", ["--images", "a.jpg"]).images == ("a.jpg",)
    assert parse("features", ["photos", "--alpha", "0.5"]).setup.data.data == "photos"
    assert parse("finetune", ["photos"]).setup.data.data == "photos"
    assert parse("doctor", ["photos"]).data == "photos"
    assert parse("compare", ["one", "two"]).runs == ("one", "two")

"""The examples run as a reader runs them, and print what they promise.

Four run in this process, where Keras is loaded already; the one that is for programs without this
project runs in a process of its own.
"""

import json
import os
import re
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from tests.docs.documents import EXAMPLES
from tests.places import PROJECT
from transfer.backbones.options import BackboneOptions
from transfer.choosing.building import build_linear_head
from transfer.choosing.choice import LinearHead
from transfer.classifier import ClassifierCard, build_classifier, save_classifier

FOLDER = PROJECT / "docs" / "examples"
ALONE = FOLDER / "predict_with_keras_alone.py"


def test_every_example_is_tested():
    tested = {"features_in_a_notebook", "sweep_from_python", "own_cut", "explain_an_image"}
    tested.add(ALONE.stem)
    assert {path.stem for path in EXAMPLES} == tested


def run(name, capsys):
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def accuracies(said):
    return [float(found) for found in re.findall(r"accuracy (\d\.\d{4})", said)]


def test_features_in_a_notebook(capsys):
    said = run("features_in_a_notebook", capsys)
    assert re.search(r"^\d+ images of 10 classes\nfeatures \(\d+, 1792\), float32\n", said)
    val, test = accuracies(said)
    assert min(val, test) > 0.9


def test_sweep_from_python(capsys):
    said = run("sweep_from_python", capsys)
    first, second, third, test = accuracies(said)
    assert first >= second >= third > 0.85
    assert test > 0.85


def test_own_cut(capsys):
    said = run("own_cut", capsys)
    assert "block5c_add" in said.splitlines()[0]
    (inner, top) = accuracies(said)
    assert inner > top > 0.6
    assert re.search(r"^block5c_add: 112 features", said, re.MULTILINE)
    assert re.search(r"^top_relu: 1,280 features", said, re.MULTILINE)


def test_explain_an_image(tmp_path, monkeypatch, capsys):
    classifier = build_classifier(one_layer(), one_weight(), BackboneOptions(image_size=32))
    card = ClassifierCard(("dark", "red"), "MobileNetV2", (32, 32), ("seen",), "avg")
    save_classifier(classifier, card, tmp_path / "classifier.keras")
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[4:8, 24:28, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "red.png")
    words = ["explain", str(tmp_path / "classifier.keras"), str(tmp_path / "red.png")]
    monkeypatch.setattr(sys, "argv", words)
    first, *more = run("explain_an_image", capsys).splitlines()
    assert re.fullmatch(r"red 0\.\d{4}", first)
    assert re.fullmatch(r"logit -?\d+\.\d{4}, the mean of 8 x 8 places", more[0])
    assert more[1:] == ["most at 19% of the height, 81% across"]


def one_layer():
    """Averages of pixels, as a backbone."""
    pixels = keras.Input((32, 32, 3))
    seen = keras.layers.AveragePooling2D(4, name="seen")(pixels)
    return keras.Model(pixels, [seen], name="backbone")


def one_weight():
    """A head that calls red what has some."""
    kernel = np.array([[-9, 9], [0, 0], [0, 0]], np.float32)
    mean, variance = np.full(3, -1, np.float32), np.ones(3, np.float32)
    return build_linear_head(LinearHead("none", mean, variance, kernel, np.zeros(2)), (3,))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier of digits, and images of a 3 and a 7 as files."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    options = ["--data", "digits", "--limit-per-class", "30", "--image-size", "32"]
    network = ["--backbone", "EfficientNetLite0", "--cut", "block3b_add", "--pooling", "flatten"]
    where = ["--artifacts", str(folder), "--run", "run", "--epochs", "6"]
    assert main(["head", *options, *network, *where]) == 0
    digits = load_digits()
    for digit in (3, 7):
        levels = digits.images[digits.target == digit][-1]  # not among those trained on
        Image.fromarray((levels * 255 / 16).astype(np.uint8)).save(folder / f"{digit}.png")
    return folder / "runs" / "run" / "classifier.keras"


def test_predict_with_keras_alone(classifier):
    folder = classifier.parents[2]
    images = [str(folder / f"{digit}.png") for digit in (3, 7)]
    done = subprocess.run(
        [sys.executable, "-I", ALONE, classifier, *images],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    found = re.findall(r"^(.+): (\d) (\d\.\d{4})$", done.stdout, re.MULTILINE)
    assert [(path, name) for path, name, _ in found] == [(images[0], "3"), (images[1], "7")]
    ours = ["--output", str(folder / "predictions.json")]
    assert main(["predict", "--model", str(classifier), "--images", *images, *ours]) == 0
    expected = [one["probability"] for one in json.loads((folder / "predictions.json").read_text())]
    assert [float(value) for *_, value in found] == pytest.approx(expected, abs=1e-3)


def test_predicting_needs_nothing_of_the_project():
    imports = re.findall(r"^(?:import|from) (\w+)", ALONE.read_text(), re.MULTILINE)
    assert set(imports) == {"json", "sys", "zipfile", "keras", "numpy", "PIL"}

"""Exported models in place of classifiers: the same answers, and who stands for whom."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.exports import stand_in
from tests.pipelines.small_runs import options, refused
from tests.places import PROJECT
from transfer.backbones.resizing import resize_pixels
from transfer.classifier import ClassifierCard, save_classifier
from transfer.exporting.about import About, Agreement, about_path, read_about, write_about

pytest.importorskip("openvino")
CARD = ClassifierCard(("cat", "dog"), "MobileNetV2", (8, 6), ("top",), "avg")
HEAD = {"head.json": json.dumps({"id": "one", "val_accuracy": 0.9, "val_loss": 0.3}).encode()}
AGREED = Agreement(8, 1e-6, 1.0, "val", 30, 0.9, 0.9, 0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose classifier sees the mean colour, its export, and images of one colour each."""
    folder = tmp_path_factory.mktemp("made")
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(1, "sigmoid")
    pixels = keras.Input((8, 6, 3))
    means = keras.layers.Rescaling(1 / 255)(keras.layers.GlobalAveragePooling2D()(pixels))
    body = keras.Model(pixels, dense(means), name="body")
    images = keras.Input((None, None, 3), dtype="uint8")
    run = folder / "artifacts" / "runs" / "run"
    classifier = run / "classifier.keras"
    save_classifier(
        keras.Model(images, body(resize_pixels(images, (8, 6)))), CARD, classifier, HEAD
    )
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    exported = run / "exported" / "classifier.xml"
    exported.parent.mkdir()
    second = dense(means)
    probabilities = keras.ops.concatenate([1 - second, second], axis=1)
    outputs = {"probabilities": probabilities, "representation": keras.ops.copy(means)}
    keras.Model(images, outputs).export(str(exported), format="openvino", verbose=False)
    digest = hashlib.sha256(classifier.read_bytes()).hexdigest()
    write_about(About(CARD, "openvino", "float32", digest, AGREED), about_path(exported))
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        size = (9, 9) if number < 20 else tuple(rng.integers(1, 40, 2).tolist())
        picture = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
        picture.save(folder / "images" / f"{number:02d}.png")
    (folder / "images" / "13.png").write_bytes(b"none")
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy to change, in which one is."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "artifacts" / "runs" / "run"


IMAGES = ["--images", "images", "--bad-images", "skip"]
RUN = ["--artifacts", "artifacts", "--run", "run"]


def predicted(*arguments):
    assert main(["predict", *RUN, *IMAGES, "--output", "out.json", *arguments]) == 0
    return json.loads(Path("out.json").read_text(encoding="utf-8"))


def of_cat(entries):
    chances = [{one["class"]: one["probability"] for one in entry["top"]} for entry in entries]
    return [one["cat"] for one in chances]


def test_an_export_answers_as_its_classifier_does(run, capsys):
    by_keras = predicted("--model", str(run / "classifier.keras"))
    said = capsys.readouterr()
    assert "predict: keras (" in said.out
    by_export = predicted("--model", str(run / "exported" / "classifier.xml"))
    same = capsys.readouterr()
    assert "predict: OpenVINO (" in same.out
    assert same.err == said.err and "13.png" in same.err
    assert [entry["image"] for entry in by_export] == [entry["image"] for entry in by_keras]
    assert len(by_export) == 39
    np.testing.assert_allclose(of_cat(by_export), of_cat(by_keras), atol=3e-6)
    assert np.ptp(of_cat(by_keras)) > 0.1


def test_the_first_answer_of_a_run_with_an_export_needs_no_keras(run):
    program = (
        "import sys; from pipelines.cli import main; "
        f"main({['predict', *RUN, '--images', 'images/07.png']}); "
        "print(*{'keras', 'tensorflow', 'sklearn', 'h5py'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    said = done.stdout.decode().splitlines()
    assert any("exported" in line for line in said)
    assert "keras" not in said[-1] and "tensorflow" not in said[-1]


def changed(run, **values):
    path = run / "exported" / "classifier.xml"
    write_about(replace(read_about(path), **values), about_path(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: changed(run, source_sha256="0" * 64),
        lambda run: changed(run, precision="int8"),
        lambda run: changed(run, agreement=None),
        lambda run: changed(run, agreement=replace(AGREED, largest_difference=0.01)),
        lambda run: about_path(run / "exported" / "classifier.xml").unlink(),
        lambda run: (run / "classifier.keras").write_bytes(b"another"),
    ],
)
def test_only_an_exact_export_stands_for_the_classifier(run, change):
    assert stand_in(run / "classifier.keras") == run / "exported" / "classifier.xml"
    change(run)
    assert stand_in(run / "classifier.keras") is None


def test_it_stands_in_where_nobody_asks_for_keras_and_images_are_few(run, monkeypatch):
    class OpenedError(Exception):
        pass

    def opened(path, *_, **__):
        raise OpenedError(path)

    def chosen(*arguments):
        with pytest.raises(OpenedError) as told:
            predicted(*arguments)
        return told.value.args[0].name

    monkeypatch.setattr("pipelines.predict.open_classifier", opened)
    assert chosen() == "classifier.xml"
    assert chosen("--engine", "keras") == "classifier.keras"
    assert chosen("--model", str(run / "classifier.keras")) == "classifier.keras"
    monkeypatch.setattr("pipelines.predict.WORTH_STARTING_KERAS", 40)
    assert chosen() == "classifier.keras"


def test_a_broken_export_leaves_its_place_to_the_classifier(run, capsys):
    whole = of_cat(predicted())
    path = run / "exported" / "classifier.xml"
    path.write_bytes(path.read_bytes()[:500])
    capsys.readouterr()
    np.testing.assert_allclose(of_cat(predicted()), whole, atol=3e-6)
    said = capsys.readouterr().out
    assert "export it again; classifier.keras takes its place" in said


def test_evaluate_scores_an_export(made, trained, place, tmp_path, capsys):
    model = made / "artifacts" / "runs" / "run" / "exported" / "classifier.xml"
    assert main(["evaluate", *options(place, "--models", str(model))]) == 0
    scores = json.loads((trained / "evaluation-test.json").read_text())["models"]
    assert list(scores) == ["head", "classifier.xml"]
    assert scores["classifier.xml"]["num_images"] == scores["head"]["num_images"]
    assert (trained / "confusion-classifier.xml.png").exists()
    assert not (trained / "architecture-classifier.xml.png").exists()
    for other in model.parent.glob("*"):
        shutil.copy(other, tmp_path)
    copy = tmp_path / "classifier.xml"
    others = replace(CARD, class_names=("dog", "cat"))
    write_about(replace(read_about(copy), card=others), about_path(copy))
    said = refused(capsys, "evaluate", *options(place, "--models", str(copy)))
    assert "expects the classes dog, cat" in said


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("none.onnx", "found none"),
        ("none.keras", "found none"),
        ("images", "received the folder images"),
        ("images/07.png", "is no classifier saved by this project"),
        ("artifacts/runs/run/exported/classifier.bin", "is no classifier saved by this project"),
    ],
)
def test_what_is_no_model_is_refused_in_a_line(run, capsys, model, said):
    message = refused(capsys, "predict", *RUN, *IMAGES, "--model", model)
    assert said in message
    assert message.count("\n") == 1

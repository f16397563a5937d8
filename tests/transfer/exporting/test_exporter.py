"""One classifier in every format: the files agree with it, run by themselves, or are not there."""

import subprocess
import sys
import zipfile
from contextlib import contextmanager
from importlib import import_module

import keras
import numpy as np
import pytest
from PIL import Image

from tests.transfer.exporting.small_exports import (
    OTHERS,
    VIEWS,
    image_set,
    images,
    saved_classifier,
)
from transfer.backbones.resizing import resize_pixels
from transfer.classifier import body_with_features, load_classifier
from transfer.errors import InputError
from transfer.exporting import agreement
from transfer.exporting.about import read_about
from transfer.exporting.exporter import exporter
from transfer.exporting.formats import FORMATS, check_packages
from transfer.exporting.runtimes import open_model
from transfer.images.digests import file_digest

REDUCED = [(name, precision) for name in OTHERS[1:] for precision in ("float16", "int8")]

EXPORTER = import_module("transfer.exporting.exporter")  # of the same name as its function


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where everything was exported once."""
    folder = tmp_path_factory.mktemp("exported")
    source = saved_classifier(folder / "source.keras")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("oof.npz", "what was said of training images")
    found = {}
    with exporter(source, image_set(), {".knowledge.npz": b"known"}) as exporting:
        for name in FORMATS:
            found[name, "float32"] = exporting.export(name, "float32", folder / "float32")
        for name, precision in REDUCED:
            # What random weights lose is no matter here.
            found[name, precision] = exporting.export(name, precision, folder / precision, True)
    return folder, found


def model_file(folder, name, precision="float32"):
    return folder / precision / f"classifier{FORMATS[name].suffix}"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_the_classifier_says(place, name):
    folder, found = place
    classifier, card = load_classifier(folder / "source.keras")
    with_features = body_with_features(classifier, card)
    model = open_model(model_file(folder, name))
    for batch in images(((5, 90), (32, 32), (120, 33)), count=3):
        (second,) = np.asarray(classifier(batch, training=False)).T
        assert second.std() > 1e-4  # the images differ for this head
        probabilities, features = model.run(batch)
        np.testing.assert_allclose(probabilities[:, 1], second, atol=1e-5)
        pixels = resize_pixels(batch, card.image_size)
        seen = np.asarray(with_features(pixels, training=False)[1])
        np.testing.assert_allclose(features, seen, atol=1e-5 * np.abs(seen).max())
    assert found[name, "float32"].largest_difference < 1e-5
    assert found[name, "float32"].equal_top1 == 1


@pytest.mark.parametrize(("name", "precision"), REDUCED)
def test_fewer_bits_are_near(place, name, precision):
    farthest = {"float16": 5e-3, "int8": 0.2}[precision]
    assert 0 < place[1][name, precision].largest_difference < farthest


@pytest.mark.parametrize("name", OTHERS[1:])
def test_half_the_bits_make_smaller_files(place, name):
    weights = ".bin" if name == "openvino" else FORMATS[name].suffix
    whole, half = (place[0] / kind / f"classifier{weights}" for kind in ("float32", "float16"))
    assert half.stat().st_size < whole.stat().st_size


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_known_lies_beside_the_file(place, name):
    folder, found = place
    about = read_about(model_file(folder, name))
    assert about.card.views == VIEWS and about.card.class_names == ("red", "blue")
    assert (about.format, about.precision) == (name, "float32")
    assert about.agreement == found[name, "float32"]
    assert about.agreement.split == "val" and about.agreement.judged == 8
    assert about.agreement.images == 32  # no test images
    beside = model_file(folder, name).with_name(model_file(folder, name).name + ".knowledge.npz")
    assert beside.read_bytes() == b"known"
    assert about.source_sha256 == file_digest(folder / "source.keras")


@pytest.mark.parametrize("name", FORMATS)
def test_programs_beside_the_file_run_by_themselves(place, name, tmp_path):
    folder, _ = place
    (pixels,) = images(((50, 70),), count=1)
    Image.fromarray(pixels[0]).save(tmp_path / "photo.png")
    expected = open_model(model_file(folder, name)).predict(pixels)[0]
    program = folder / "float32" / f"use_{name}.py"
    command = [sys.executable, "-I", str(program), str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, check=True)
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [name for name, _ in lines] == [("red", "blue")[at] for at in np.argsort(-expected)]
    np.testing.assert_allclose(
        [float(said) for _, said in lines], np.sort(expected)[::-1], atol=2e-6
    )
    assert "transfer" not in program.read_text(encoding="utf-8").replace("transferred", "")


def test_other_languages_are_told_of_the_same_file(place):
    text = (place[0] / "float32" / "use_onnx.md").read_text(encoding="utf-8")
    assert 'InferenceSession("classifier.onnx")' in text
    assert "`${name}\\t${probabilities" in text and '$"{names[index]}' in text


def test_an_exported_keras_file_holds_no_names_of_training_images(place):
    with zipfile.ZipFile(place[0] / "float32" / "classifier.keras") as archive:
        assert set(archive.namelist()) == {
            "metadata.json",
            "config.json",
            "model.weights.h5",
            "classifier.json",
        }


@pytest.fixture
def exporting(place, monkeypatch):
    """What exports again; Keras is not started for it once more."""

    @contextmanager
    def here(path):
        yield open_model(path)

    monkeypatch.setattr(EXPORTER, "model_apart", here)
    with exporter(place[0] / "source.keras", image_set(), {}) as found:
        yield found


def test_a_file_that_is_too_far_away_is_not_left(exporting, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "LARGEST_DIFFERENCE", -1)
    with pytest.raises(InputError, match=r"keras float32 is too far from .*source\.keras: a prob"):
        exporting.export("keras", "float32", tmp_path)
    assert not list(tmp_path.iterdir())
    exporting.export("keras", "float32", tmp_path, allow_worse=True)
    assert (tmp_path / "classifier.keras").is_file()


def test_a_file_that_does_not_run_is_not_left(place, tmp_path, monkeypatch):
    def convert(name, saved, path, precision, calibration):
        path.write_bytes(b"nothing")

    monkeypatch.setattr(EXPORTER, "convert", convert)
    refused = pytest.raises(InputError, match=r"onnx does not run .*: expected a classifier that O")
    with exporter(place[0] / "source.keras", image_set(), {}) as exporting:
        exporting.__dict__["_saved_model"] = tmp_path  # none is needed
        with refused:
            exporting.export("onnx", "float32", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_what_a_converter_raises_is_one_line(exporting, tmp_path, monkeypatch):
    def convert(*_):
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(EXPORTER, "convert", convert)
    exporting.__dict__["_saved_model"] = tmp_path
    with pytest.raises(InputError, match=r"onnx float32 \(RuntimeError: no such operation\)"):
        exporting.export("onnx", "float32", tmp_path / "out")


@pytest.mark.parametrize("name", ["keras", "savedmodel"])
def test_formats_without_fewer_bits_say_so(name):
    with pytest.raises(InputError, match=r"expects --precision float32, received int8, which lit"):
        check_packages(FORMATS[name], "int8")


def test_packages_that_lack_are_named(monkeypatch):
    monkeypatch.setattr("transfer.exporting.formats.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"found no onnxruntime, onnx, tf2onnx; pip install onnxr"):
        check_packages(FORMATS["onnx"], "float32")


def test_another_backend_and_other_classes_are_refused(place, monkeypatch):
    other = image_set()
    object.__setattr__(other, "class_names", ("blue", "red"))
    source = place[0] / "source.keras"
    refused = pytest.raises(InputError, match="red, blue, the images have blue, red")
    with refused, exporter(source, other, {}):
        pass
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    refused = pytest.raises(InputError, match="KERAS_BACKEND=tensorflow")
    with refused, exporter(source, image_set(), {}):
        pass

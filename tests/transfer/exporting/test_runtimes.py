"""Models of every format behind one interface, and what is said of those that cannot be opened."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.transfer.exporting.small_exports import CARD, OTHERS, images
from transfer.errors import InputError
from transfer.exporting.about import About, Agreement, about_path, read_about, write_about
from transfer.exporting.formats import FORMATS
from transfer.exporting.runtimes import is_exported, open_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The same weights in each format: the mean colour, and a layer of probabilities."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    pixels = keras.Input((None, None, 3), dtype="uint8", name="images")
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 99)(pixels))
    outputs = {
        "probabilities": keras.layers.Dense(3, "softmax", name="probabilities")(means),
        "representation": keras.layers.Identity(name="representation")(means),
    }
    model = keras.Model(pixels, outputs)
    paths = {name: folder / f"model{FORMATS[name].suffix}" for name in OTHERS}
    for name, path in paths.items():
        known = "tf_saved_model" if name == "savedmodel" else name
        model.export(str(path), format=known, verbose=False)
        write_about(About(CARD, name, "float32", "0" * 64), about_path(path))
    weights = [weight.numpy() for weight in model.weights]
    return paths, weights


def expected(batch, weights):
    kernel, bias = weights
    logits = batch.astype(np.float64).mean((1, 2)) / 99 @ kernel + bias
    powers = np.exp(logits)
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("name", OTHERS)
def test_every_runtime_gives_the_same_probabilities(models, name):
    paths, weights = models
    model = open_model(paths[name])
    assert model.card == CARD
    for batch in [*images(), images()[0][:1]]:
        got, features = model.run(batch)
        assert got.dtype == features.dtype == np.float32
        np.testing.assert_allclose(got, expected(batch, weights), atol=1e-5)
        np.testing.assert_allclose(features, batch.mean((1, 2)) / 99, rtol=1e-5)
        np.testing.assert_array_equal(model.predict(batch), got)


@pytest.mark.parametrize("name", OTHERS)
def test_threads_may_share_a_model(models, name):
    paths, weights = models
    model = open_model(paths[name])
    batches = images(count=5) * 8
    with ThreadPoolExecutor(4) as pool:
        for batch, got in zip(batches, pool.map(model.predict, batches), strict=True):
            np.testing.assert_allclose(got, expected(batch, weights), atol=1e-5)


@pytest.mark.parametrize("name", ["litert", "onnx", "openvino"])
def test_no_other_runtime_is_imported(models, name):
    paths, _ = models
    runtimes = {"keras", "tensorflow", "onnxruntime", "openvino", "ai_edge_litert", "sklearn"}
    program = (
        "import sys; from pathlib import Path; from transfer.exporting import open_model; "
        f"open_model(Path({str(paths[name])!r})); print(*{runtimes} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    module = FORMATS[name].module.split(".")[0]
    assert done.stdout.decode().split() == [module]


def test_formats_are_told_by_their_names(tmp_path):
    assert all(is_exported(tmp_path / f"a{FORMATS[name].suffix}") for name in OTHERS)
    assert not is_exported(tmp_path / "classifier.keras")
    assert not is_exported(tmp_path / "photos")
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "saved_model.pb").touch()
    assert is_exported(tmp_path / "serving")
    with pytest.raises(InputError, match=r"ends in one of \.keras, .*, received 'a\.pkl'"):
        open_model(tmp_path / "a.pkl")


def refusal(path):
    with pytest.raises(InputError) as refused:
        open_model(path)
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_missing_or_broken_is_refused_in_a_line(models, name, tmp_path):
    path = tmp_path / models[0][name].name
    assert "found none; make one with" in refusal(path)
    broken = path
    if name == "savedmodel":
        path.mkdir()
        broken = path / "saved_model.pb"
    broken.write_bytes(b"<net>no model</net>")
    assert "copy it along" in refusal(path)
    write_about(About(CARD, name, "float32", "0" * 64), about_path(path))
    assert FORMATS[name].runtime in refusal(path)


def test_a_model_of_other_classes_is_refused(models, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(models[0]["onnx"].read_bytes())
    two = replace(CARD, class_names=("cat", "dog"))
    write_about(About(two, "onnx", "float32", "0" * 64), about_path(path))
    assert "2 probabilities, as its .json says, received (3,)" in refusal(path)


def test_what_is_known_of_a_model_is_read_back(tmp_path):
    agreement = Agreement(500, 1e-6, 1.0, "val", 359, 0.99, 0.98, 0.005)
    about = About(CARD, "onnx", "int8", "ab" * 32, agreement)
    write_about(about, about_path(tmp_path / "a.onnx"))
    assert read_about(tmp_path / "a.onnx") == about


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values | {"version": 2}, "of version 1, received 2"),
        (lambda values: values | {"version": None}, "no version"),
        (lambda values: [values], "no version"),
        (lambda values: values | {"classifier": {"class_names": ["a", "b"]}}, "its backbone, cuts"),
        (lambda values: values | {"classifier": None}, "its backbone, class_names"),
        (
            lambda values: values | {"classifier": {**values["classifier"], "aura": 3}},
            "newer version of this program (it says aura)",
        ),
        (lambda values: {"version": 1}, "is not what `transfer export` writes (KeyError"),
    ],
)
def test_a_json_of_another_kind_or_version_is_refused(tmp_path, change, said):
    path = tmp_path / "model.onnx"
    path.touch()
    write_about(About(CARD, "onnx", "float32", "0" * 64), about_path(path))
    values = json.loads(about_path(path).read_text(encoding="utf-8"))
    about_path(path).write_text(json.dumps(change(values)), encoding="utf-8")
    assert said in refusal(path)


def test_a_runtime_that_is_not_installed(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in refusal(models[0]["onnx"])


def test_a_saved_model_that_reads_files_is_not_run(tmp_path):
    import tensorflow

    class Reader(tensorflow.Module):
        @tensorflow.function(input_signature=[tensorflow.TensorSpec((1, None, None, 3), "uint8")])
        def serve(self, images):
            read = tensorflow.strings.length(tensorflow.io.read_file("/etc/hostname"))
            return tensorflow.ones((1, 3)) * tensorflow.cast(read, "float32")

    path = tmp_path / "model.savedmodel"
    tensorflow.saved_model.save(Reader(), str(path))
    write_about(About(CARD, "savedmodel", "float32", "0" * 64), about_path(path))
    assert "a network alone, received the operation ReadFile" in refusal(path)

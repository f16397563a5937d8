"""`transfer export` and `transfer bench-model`, as a user types them."""

import json
import shutil

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.machine.memory import in_words
from tests.pipelines.small_runs import options, photographs, refused
from transfer.exporting import agreement
from transfer.exporting.runtimes import open_model


@pytest.fixture(scope="module")
def exported(place, trained):
    """The run's classifier as an ONNX file."""
    assert main(["export", "--artifacts", str(place / "artifacts"), "--to", "onnx"]) == 0
    return trained / "exported" / "classifier.onnx"


def test_an_exported_run_lies_in_its_folder(exported, trained, place):
    names = {path.name for path in exported.parent.iterdir()}
    files = {"classifier.onnx", "classifier.onnx.json", "classifier.onnx.knowledge.npz"}
    assert names == {*files, "use_onnx.py", "use_onnx.md"}
    about = json.loads(exported.with_name("classifier.onnx.json").read_text(encoding="utf-8"))
    assert about["classifier"]["class_names"] == ["cat", "dog"]
    found = about["agreement"]
    assert found["largest_difference"] < 1e-4
    assert (found["split"], found["judged"], found["images"]) == ("val", 12, 36)
    batch = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), np.uint8)
    kept = open_model(trained / "classifier.keras").predict(batch)
    np.testing.assert_allclose(open_model(exported).predict(batch), kept, atol=1e-4)


def test_an_exported_file_knows_what_its_classifier_knows(exported, trained, place):
    images = str(place / "photos" / "cat")
    said = []
    for number, model in enumerate((trained / "classifier.keras", exported)):
        output = place / f"said-{number}.json"
        words = ["--images", images, "--model", str(model), "--output", str(output)]
        assert main(["predict", "--artifacts", str(place / "artifacts"), *words]) == 0
        said.append(json.loads(output.read_text(encoding="utf-8")))
    for one, other in zip(*said, strict=True):
        assert one["nearest"] == other["nearest"]
        assert one["strangeness"] == pytest.approx(other["strangeness"], abs=0.01)
        assert one["class"] == other["class"]


def test_models_are_timed_side_by_side(exported, capsys):
    assert main(["bench-model", str(exported), "--seconds", "0.01", "--batch-size", "2"]) == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if "32 x 32" in line)
    cells = [cell.strip() for cell in line.split("│")[1:-1]]
    median, p90, speed = (float(cell.replace(",", "")) for cell in cells[2:5])
    assert 0 < median <= p90 and speed > 0
    assert cells[5] == in_words(exported.stat().st_size)
    assert cells[6].endswith("MiB") and float(cells[6].split()[0]) > 20


def test_what_cannot_be_timed_is_named(exported, tmp_path, capsys):
    assert "received none" in refused(capsys, "bench-model")
    assert "found none" in refused(capsys, "bench-model", str(tmp_path / "a.onnx"))
    broken = tmp_path / "classifier.onnx"
    broken.write_bytes(b"nothing")
    shutil.copy(exported.with_name("classifier.onnx.json"), tmp_path)
    said = refused(capsys, "bench-model", str(broken))
    assert "ONNX Runtime can run" in said and len(said.splitlines()) == 1
    assert "at least 1" in refused(capsys, "bench-model", str(exported), "--batch-size", "0")


def test_a_precision_that_a_format_does_not_have(place, capsys):
    words = ["export", "--artifacts", str(place / "artifacts"), "--precision", "int8", "--to"]
    said = refused(capsys, *words, "onnx", "keras")
    assert "--to keras expects --precision float32, received int8" in said


def test_a_file_too_far_from_the_classifier_is_refused(
    exported, place, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(agreement, "LARGEST_DIFFERENCE", -1.0)
    out = ["--output-folder", str(tmp_path / "out")]
    words = ["export", "--artifacts", str(place / "artifacts"), "--to", "onnx", *out]
    said = refused(capsys, *words)
    assert "onnx float32 is too far from" in said and len(said.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


def test_a_run_without_a_classifier(tmp_path, capsys):
    photographs(tmp_path / "photos", count=4)
    assert "train one with `transfer head`" in refused(capsys, "export", *options(tmp_path))

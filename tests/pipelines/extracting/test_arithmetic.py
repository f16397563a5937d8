"""`--precision auto`: which arithmetic is taken, by what was measured, and remembered."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.extracting import arithmetic
from pipelines.extracting.arithmetic import settled
from pipelines.setup import Setup
from tests.pipelines.small_runs import options, photographs
from transfer.backbones.options import BackboneOptions
from transfer.images.sources import DataOptions

SPEEDS = {"float32": 10.0, "bfloat16": 20.0, "int8": 40.0}
NOISE = {"float32": 0.0, "bfloat16": 0.01, "int8": 3.0}


@pytest.fixture
def setup(tmp_path):
    backbone = BackboneOptions("MobileNetV2", alpha=0.35, weights="none", image_size=32)
    data = DataOptions(str(photographs(tmp_path / "photos", count=60)))
    return Setup(data, backbone, artifacts=tmp_path / "artifacts", precision="auto")


@pytest.fixture
def measured(monkeypatch):
    """Features of which each arithmetic spoils some; what was measured, in order."""
    monkeypatch.setattr(arithmetic, "FEW", 100)
    monkeypatch.setattr(arithmetic, "WORTH", 1.0)
    others = [("bfloat16", "openvino"), ("int8", "openvino")]
    monkeypatch.setattr(arithmetic, "_others", lambda setup: others)
    asked = []

    def extracted(setup, sample):
        asked.append(setup.arithmetic)
        rng = np.random.default_rng(0)
        labels = sample.some.labels
        features = rng.normal(size=(len(labels), 6)) + np.eye(2, 6)[labels] * 3
        spoilt = features + NOISE[setup.arithmetic] * rng.normal(size=features.shape)
        return [spoilt.astype(np.float32)], SPEEDS[setup.arithmetic]

    monkeypatch.setattr(arithmetic, "_extracted", extracted)
    return asked


def test_the_fastest_of_those_that_are_as_good_is_taken(setup, measured, capsys):
    found = settled(setup)
    assert (found.precision, found.engine) == ("bfloat16", "openvino")
    assert measured == ["float32", "bfloat16", "int8"]
    said = capsys.readouterr().out
    assert "takes bfloat16, 2.00 times as fast as float32 and as good" in said
    assert found == replace(setup, precision="bfloat16", engine="openvino")


def test_int8_is_taken_where_it_spoils_nothing(setup, measured, monkeypatch):
    monkeypatch.setitem(NOISE, "int8", 0.0)
    assert settled(setup).precision == "int8"


def test_what_gains_little_is_not_taken(setup, measured, monkeypatch, capsys):
    monkeypatch.setitem(SPEEDS, "bfloat16", 10.5)
    found = settled(setup)
    assert (found.precision, found.engine) == ("float32", "auto")
    assert "no other is faster and as good" in capsys.readouterr().out


def test_the_answer_is_remembered_until_images_change(setup, measured, tmp_path, capsys):
    settled(setup)
    first = capsys.readouterr().out.splitlines()[-1]
    assert settled(setup).precision == "bfloat16"
    assert len(measured) == 3
    assert capsys.readouterr().out.splitlines() == [first]
    (path,) = (tmp_path / "artifacts" / "index").glob("precision-*.json")
    path.write_text(json.dumps([1]))  # another program's, or damaged
    settled(setup)
    assert len(measured) == 6
    settled(replace(setup, rehash=True))
    assert len(measured) == 9
    (tmp_path / "photos" / "cat" / "000.png").unlink()
    settled(setup)
    assert len(measured) == 12


def test_what_is_done_soon_stays_in_float32(setup, measured, monkeypatch, capsys):
    monkeypatch.setattr(arithmetic, "WORTH", 60.0)  # 120 images at 10 a second take 12
    assert settled(setup).precision == "float32"
    assert measured == ["float32"]
    assert "in which all images take 12 s" in capsys.readouterr().out
    monkeypatch.setattr(arithmetic, "FEW", 2000)
    assert settled(replace(setup, rehash=True)).precision == "float32"
    assert measured == ["float32"]
    assert "120 images are few" in capsys.readouterr().out


def test_test_images_and_bad_ones_are_not_measured(setup, measured, tmp_path, monkeypatch):
    seen = []
    inner = arithmetic._extracted

    def extracted(setup, sample):
        seen.append(set(sample.some.ids))
        return inner(setup, sample)

    monkeypatch.setattr(arithmetic, "_extracted", extracted)
    bad = tmp_path / "photos" / "dog" / "007.png"
    bad.write_bytes(bad.read_bytes()[:100])
    settled(setup)
    from transfer.images.sources import load

    images = load(setup.data)
    training = set(images.ids[images.split == "train"])
    assert seen[0] == seen[1] == seen[2] == training - {"dog/007.png"}


def test_real_features_are_measured(setup, monkeypatch, capsys):
    monkeypatch.setattr(arithmetic, "FEW", 100)
    monkeypatch.setattr(arithmetic, "WORTH", 0.0)
    monkeypatch.setattr(arithmetic, "_others", lambda setup: [("float32", "keras")])
    assert settled(setup).precision == "float32"
    assert "+0.0000 +- 0.0000" in capsys.readouterr().out


def test_a_setup_that_is_not_settled_has_no_features(setup):
    with pytest.raises(ValueError, match="settled"):
        setup.spec()


def test_the_command_settles_it_and_the_run_goes_on_with_that(tmp_path, capsys):
    photographs(tmp_path / "photos")
    assert main(["features", *options(tmp_path, "--precision", "auto")]) == 0
    said = capsys.readouterr().out
    assert "features: --precision auto takes float32, for " in said
    assert main(["features", *options(tmp_path)]) == 0
    assert "cached in" in capsys.readouterr().out


def test_few_images_and_what_is_remembered_need_no_keras(tmp_path):
    photographs(tmp_path / "photos")
    assert main(["features", *options(tmp_path)]) == 0
    words = ["features", *options(tmp_path, "--precision", "auto")]
    program = (
        "import sys; from pipelines.cli import main; "
        f"assert main({words!r}) == 0; print({{'keras', 'tensorflow'}} & set(sys.modules))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "set()"
        assert done.stderr == ""

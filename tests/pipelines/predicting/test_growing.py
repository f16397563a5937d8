"""Files of predictions that are stopped and gone on with end like those that were not."""

import csv
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.lock import taken_by_another
from pipelines.cli import main
from pipelines.predicting import growing
from tests.pipelines.predicting.stub import BATCH, in_place_of_others
from tests.pipelines.small_runs import refused
from tests.places import PROJECT

COUNT = 30
BAD = (5, 17, 29)


class Stop(BaseException):
    """What no stage catches."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Images of which three are none, and a model that is only a name."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(COUNT):
        pixels = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        path = tmp_path / "images" / f"{number:02d}.png"
        Image.fromarray(pixels).save(path)
        if number in BAD:
            path.write_bytes(b"none")
    (tmp_path / "model.keras").write_bytes(b"model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(growing, "SECONDS_BETWEEN_NOTES", 0)
    return tmp_path


def words(output, *more):
    kept = ["predict", "--model", "model.keras", "--bad-images", "skip", "--artifacts", "none"]
    return [*kept, "--images", "images", "--output", output, *more]


def predict(monkeypatch, *arguments, stop_at=COUNT):
    """Runs the command with the stub; returns the first rows of the batches that it ran."""
    begun = []

    def before(row):
        if row >= stop_at:
            raise Stop
        begun.append(row)

    monkeypatch.setattr("pipelines.predict.open_classifier", in_place_of_others(before))
    with suppress(Stop):
        assert main(list(arguments)) == 0
    return begun


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_stopped_anywhere_it_ends_as_if_it_had_not(folder, monkeypatch, suffix, capsys):
    predict(monkeypatch, *words(f"whole.{suffix}"))
    unbroken = capsys.readouterr()
    output = f"broken.{suffix}"
    assert [predict(monkeypatch, *words(output), stop_at=stop) for stop in (8, 8, 20)] == [
        [0, 4],
        [],
        [8, 12, 16],
    ]
    assert not Path(output).exists()
    capsys.readouterr()
    assert predict(monkeypatch, *words(output)) == [20, 24, 28]
    said = capsys.readouterr()
    assert "goes on behind the 20 images in broken" in said.out
    assert said.err == unbroken.err  # all that are bad are named, whoever met them
    assert all(f"{number:02d}.png" in said.err for number in BAD)
    assert Path(output).read_bytes() == Path(f"whole.{suffix}").read_bytes()
    assert sorted(path.name for path in folder.iterdir() if ".part" in path.name) == []


def test_what_is_written_can_be_read(monkeypatch):
    for suffix in ("csv", "json", "jsonl"):
        predict(monkeypatch, *words(f"out.{suffix}"))
    listed = json.loads(Path("out.json").read_text(encoding="utf-8"))
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == listed
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    good = [f"images/{number:02d}.png" for number in range(COUNT) if number not in BAD]
    assert [row["image"] for row in rows] == [entry["image"] for entry in listed] == good
    assert [float(row["probability_1"]) for row in rows] == [e["probability"] for e in listed]


def test_files_torn_at_any_byte_are_gone_on_with(monkeypatch):
    """As a machine leaves them whose power was cut."""
    predict(monkeypatch, *words("whole.csv"))
    predict(monkeypatch, *words("out.csv"), stop_at=24)
    part, notes = Path("out.csv.part"), Path("out.csv.part.notes")
    kept = part.read_bytes(), notes.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(25):
        for path, content in zip((part, notes), kept, strict=True):
            path.write_bytes(content[: rng.integers(len(content) + 1)])
        predict(monkeypatch, *words("out.csv"))
        assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_killed_process_is_gone_on_with(monkeypatch):
    predict(monkeypatch, *words("whole.csv"))
    program = [sys.executable, "-m", "tests.pipelines.predicting.stub", "12", *words("out.csv")]
    died = subprocess.run(program, env=os.environ | {"PYTHONPATH": str(PROJECT)}, check=False)
    assert died.returncode == -9
    rows = Path("out.csv.part").read_bytes()
    assert rows.count(b"\n") == 1 + 12 - 1  # with a header, without a bad image
    begun = predict(monkeypatch, *words("out.csv"))
    assert begun[0] in (BATCH, 12)  # notes are a second apart there
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda: Path("model.keras").write_bytes(b"other"),
        lambda: Path("model.bin").write_bytes(b"weights"),
        lambda: Path("images/01.png").unlink(),
        lambda: os.utime("images/01.png", (1, 1)),
    ],
)
def test_of_another_model_or_other_images_nothing_is_kept(monkeypatch, capsys, change):
    predict(monkeypatch, *words("out.csv"), stop_at=8)
    change()
    assert predict(monkeypatch, *words("out.csv"))[0] == 0
    assert "out.csv.part is of other images, options or models; begins" in capsys.readouterr().out


def test_with_other_options_nothing_is_kept(monkeypatch):
    predict(monkeypatch, *words("out.csv"), stop_at=8)
    assert predict(monkeypatch, *words("out.csv", "--top", "1"))[0] == 0
    assert Path("out.csv").read_text(encoding="utf-8").startswith("image,class_1,probability_1\n")


def test_a_file_in_the_way_is_left_alone(monkeypatch, capsys):
    Path("out.csv.part").write_text("mine", encoding="utf-8")
    monkeypatch.setattr("pipelines.predict.open_classifier", in_place_of_others(lambda row: None))
    assert "out.csv.part is in the way" in refused(capsys, *words("out.csv"))
    assert Path("out.csv.part").read_text(encoding="utf-8") == "mine"
    Path("folder.csv").mkdir()
    assert "received a folder" in refused(capsys, *words("folder.csv"))


def test_two_do_not_write_one_file(monkeypatch, capsys):
    predict(monkeypatch, *words("out.csv"), stop_at=8)
    with Path("out.csv.part.notes").open("ab") as other:
        assert not taken_by_another(other.fileno())
        assert "another `transfer predict` writes out.csv" in refused(capsys, *words("out.csv"))
    assert predict(monkeypatch, *words("out.csv"))[0] == 8


def test_nothing_is_left_where_no_image_was_good(monkeypatch, folder, capsys):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"none")
    monkeypatch.setattr("pipelines.predict.open_classifier", in_place_of_others(lambda row: None))
    assert "at least one image" in refused(capsys, *words("out.csv"))
    assert not [path.name for path in folder.iterdir() if path.name.startswith("out")]


def test_more_images_than_a_table_holds_want_a_file(monkeypatch, capsys):
    monkeypatch.setattr("pipelines.predict.MOST_ROWS", 20)
    assert "--output expects a .csv, .json or .jsonl file for 30 images" in refused(
        capsys, "predict", "--model", "model.keras", "--images", "images", "--artifacts", "none"
    )

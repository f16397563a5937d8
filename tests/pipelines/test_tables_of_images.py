"""A table of images from the command line: the same features as its folder, and later stages."""

import tomllib

import numpy as np

from cache import FeatureFile
from pipelines.cli import main, parse
from pipelines.doctor import DoctorStage, _examined
from tests.pipelines.small_runs import SMALL, refused


def table(place, change=lambda row: row):
    """Two thirds of each class to train on, the others to judge by; three make a group."""
    rows = ["file,label,split,patient"]
    for name in ("cat", "dog"):
        for number in range(24):
            split = "train" if number < 16 else "val" if number < 20 else "test"
            rows.append(change(f"{name}/{number:03d}.png,{name},{split},{name}{number // 3}"))
    (place / "labels.csv").write_text("\n".join(rows))
    return str(place / "labels.csv")


def features(place, capsys, *arguments):
    assert main(["features", "--artifacts", str(place / "artifacts"), *SMALL, *arguments]) == 0
    said = capsys.readouterr().out
    path = next((place / "artifacts").glob(f"features/{said.split('features/')[-1].split('/')[0]}"))
    return said, FeatureFile(path / "features.h5")


def values(file):
    rows = np.arange(len(file))
    return [file.read(rows, [cut]) for cut in file.cuts]


def test_a_table_has_the_features_of_its_folder_and_runs_go_on_from_it(trained, place, capsys):
    _, of_folder = features(place, capsys, "--data", str(place / "photos"), "--run", "run")
    root = ["--images-root", str(place / "photos")]
    said, of_table = features(place, capsys, "--data", table(place), *root)
    assert "48 rows are in the store already" in said
    assert list(of_table.ids) == list(of_folder.ids)
    for one, other in zip(values(of_table), values(of_folder), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [list(of_table.given_split).count(name) for name in ("train", "val", "test")] == [
        32, 8, 8,
    ]  # fmt: skip

    def relabel(row):
        return row.replace("cat/000.png,cat", "cat/000.png,dog")

    said, _ = features(place, capsys, "--data", table(place, relabel), *root)
    assert "48 rows are in the store already" in said
    said, file = features(place, capsys, "--data", table(place), *root)
    assert "cached in" in said

    artifacts = ["--artifacts", str(place / "artifacts")]
    run = place / "artifacts" / "runs" / "latest"
    told = tomllib.loads((run / "run.toml").read_text())["data"]
    assert (told["data"], told["images_root"]) == (
        str(place / "labels.csv"),
        str(place / "photos"),
    )
    for stage in ("head", "sweep", "finetune", "evaluate", "predict"):
        setup = parse(stage, artifacts).setup
        assert (setup.data.images_root, setup.run) == (str(place / "photos"), run.resolve().name)
        assert setup.spec().key == file.key


def test_the_doctor_says_what_a_table_holds(place, monkeypatch):
    monkeypatch.setattr("pipelines.doctor._answers", lambda url: False)
    data = table(place, lambda row: row + (f"\n{row}" if "dog/000" in row else ""))
    stage = DoctorStage(data, str(place / "photos"), artifacts=place)
    (found,) = [one.found for one in _examined(stage) if one.what == data]
    assert found.startswith(
        "48 images of 2 classes, given as 32 training, 8 validation, 8 test, in 16 groups; "
    )
    assert "says 1 rows again, such as dog/000.png" in found


def test_a_table_that_cannot_be_used_is_one_line(place, capsys):
    said = refused(capsys, "features", "--data", table(place), *SMALL)
    assert said.count("\n") == 1
    assert "48 missing files: cat/000.png, cat/001.png, cat/002.png, ...;" in said

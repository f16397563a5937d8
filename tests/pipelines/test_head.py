"""The head: what it leaves behind, of every kind of features."""

import csv
import io
import json
import zipfile

import h5py
import pytest

from pipelines.cli import main
from tests.pipelines.small_runs import options, refused


def test_head_leaves_everything_behind(trained):
    names = {path.name for path in trained.iterdir()}
    assert names >= {
        *["head.keras", "classifier.keras", "head.json", "head-history.csv", "head-history.png"]
    }
    result = json.loads((trained / "head.json").read_text())
    with (trained / "head-history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == result["epochs"]
    best = max(range(len(history)), key=lambda epoch: float(history[epoch]["val_accuracy"]))
    assert result["best_epoch"] == best + 1
    assert result["val_loss"] == pytest.approx(float(history[best]["val_loss"]), abs=1e-3)
    assert result["class_names"] == ["cat", "dog"]
    assert result["val_accuracy"] > 0.7


def test_saved_models_carry_no_optimizer(trained):
    for name in ("head.keras", "classifier.keras"):
        with zipfile.ZipFile(trained / name) as archive:
            assert not json.loads(archive.read("config.json"))["compile_config"]
            assert b"adam" not in archive.read("config.json").lower()
            weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        paths = []
        weights.visit(paths.append)
        assert not [path for path in paths if "optimizer" in path]


def test_a_refitted_head_keeps_its_honest_score_and_is_not_fine_tuned(place, capsys):
    arguments = options(place, "--epochs", "3")
    arguments[arguments.index("run")] = "refitted"
    scores = []
    for more in ([], ["--refit"]):
        assert main(["head", *arguments, *more]) == 0
        result = json.loads((place / "artifacts/runs/refitted/head.json").read_text())
        scores.append((result["val_accuracy"], pytest.approx(result["val_loss"], abs=1e-4)))
    assert scores[0] == scores[1]
    assert result["refitted"]
    assert "--no-refit" in refused(capsys, "finetune", *arguments)


def test_spatial_features_and_a_sigmoid_head(place):
    arguments = ["head", *options(place, "--cut", "block_2_add", "--epochs", "3")]
    arguments[arguments.index("run")] = "spatial"
    assert main([*arguments, "--pooling", "none", "--output", "sigmoid", "--hidden", "4"]) == 0
    result = json.loads((place / "artifacts/runs/spatial/head.json").read_text())
    assert result["cuts"] == ["block_2_add"]


def test_other_shares_of_validation_need_no_other_features(trained, place, capsys):
    before = {path.name for path in (place / "artifacts" / "features").iterdir()}
    more = ["--val-fraction", "0.4", "--run", "shares"]
    assert main(["head", *options(place, *more, "--epochs", "2")]) == 0
    assert {path.name for path in (place / "artifacts" / "features").iterdir()} == before
    said = refused(capsys, "evaluate", *options(place, "--val-fraction", "0.3", "--run", "shares"))
    assert "trained with --val-fraction 0.4" in said
    said = refused(capsys, "evaluate", *options(place, *more, "--group", r"(\w)\."))
    assert r"and no --group, received" in said and r"and --group (\w)\.; give" in said


def test_a_head_of_older_splits_is_refused(trained, place, capsys):
    (place / "artifacts/runs/older").mkdir()
    with (
        zipfile.ZipFile(trained / "classifier.keras") as newer,
        zipfile.ZipFile(place / "artifacts/runs/older/classifier.keras", "w") as older,
    ):
        for name in newer.namelist():
            content = newer.read(name)
            if name == "head.json":
                head = json.loads(content)
                del head["split_rule"]
                content = json.dumps(head).encode()
            older.writestr(name, content)
    for stage in ("evaluate", "finetune"):
        said = refused(capsys, stage, *options(place, "--run", "older"))
        assert "splits of rule 1" in said and "train it again" in said
        assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "more",
    [
        ["--views", "identity,flip", "center"],
        ["--storage", "float16"],
        ["--memory-budget", "0.000001"],
        ["--views", "flip", "identity", "--storage", "float16", "--memory-budget", "0.000002"],
    ],
    ids=["views", "float16", "streamed", "all"],
)
def test_every_kind_of_features_ends_in_the_same_classifier(place, more, capsys):
    words = options(place, *more, "--run", "kind")
    assert main(["head", *words, "--epochs", "10", "--hidden", "8"]) == 0
    said = capsys.readouterr().out
    assert ("are streamed from the file" in said) == ("--memory-budget" in more)
    run = place / "artifacts" / "runs" / "kind"
    cached = json.loads((run / "head.json").read_text())
    assert cached["val_accuracy"] > 0.6  # of 12 images of two classes
    # From pixels, all views averaged, the exported classifier must score what the head did.
    exported = ["--models", str(run / "classifier.keras"), "--split", "val", "--no-pictures"]
    assert main(["evaluate", *words, *exported]) == 0
    scores = json.loads((run / "evaluation-val.json").read_text())["models"]
    assert scores["head"]["loss"] == pytest.approx(cached["val_loss"], abs=1e-5)
    assert scores["classifier"]["loss"] == pytest.approx(cached["val_loss"], abs=5e-3)
    assert scores["classifier"]["accuracy"] == scores["head"]["accuracy"]

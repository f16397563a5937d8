"""The sweep as a user types it: real images, a small network, killed and started again."""

import contextlib
import csv
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from keras import ops
from PIL import Image

from cache import FeatureFile
from pipelines.cli import main
from pipelines.sweeping.journal import Journal
from tests.places import PROJECT
from transfer.backend.compiled import compiled
from transfer.heads.bank import HeadBank

SMALL = [
    *["--data", "digits", "--limit-per-class", "24", "--val-fraction", "0.25"],
    *["--test-fraction", "0.25", "--backbone", "MobileNetV2", "--alpha", "0.35"],
    *["--weights", "none", "--image-size", "32"],
    *["--cut", "block_1_depthwise_relu", "block_2_add"],
]
GRID = [
    *["--grid", "class_weights=none,balanced", "learning_rate=0.0001,0.003,0.02"],
    *["--epochs", "5", "--rungs", "2", "--keep", "0.5"],
]
"""Two groups of three heads, of which two stay after the second epoch. Heads of one architecture:
what is compiled for one group does for the other."""
PICTURES = ("sweep-leaderboard.png", "sweep-parameters.png", "sweep-rungs.png")


def options(place, run, *more):
    return [*SMALL, "--artifacts", str(place), "--run", run, *more]


def said_by(stage, *arguments):
    """Runs a command that must succeed; returns its standard output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([stage, *arguments]) == 0
    return said.getvalue()


def sweep(place, run, *more):
    """Words of a sweep of trained heads alone, on the usual split; linear ones have own tests."""
    folds = [] if "--folds" in more else ["--folds", "1"]
    by = ["--rank-by", "accuracy", "--monitor", "val_accuracy"]
    return ["sweep", *options(place, run, "--no-linear", *folds, *by, *more)]


def refused(capsys, *arguments):
    """Runs a command that must fail as a user's mistake does; returns what it says."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
    return said


def result_of(place, run, name="sweep.json"):
    return json.loads((place / "runs" / run / name).read_text())


def without_seconds(value):
    """A result but for what another run need not repeat."""
    if isinstance(value, dict):
        left_out = ("seconds", "id")
        return {name: without_seconds(one) for name, one in value.items() if name not in left_out}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Artifacts with the features of 240 digits in them."""
    folder = tmp_path_factory.mktemp("artifacts")
    said_by("features", *options(folder, "none"))
    return folder


@pytest.fixture(scope="module")
def swept(place):
    """What a sweep says, and leaves in `runs/swept`."""
    return said_by(*sweep(place, "swept", *GRID))


@pytest.fixture
def quick(monkeypatch):
    """Leaves out classifier and pictures, a second of work each, where nothing asks for them."""
    monkeypatch.setattr("pipelines.heads.saving.export", lambda *args: None)
    leave_out_pictures(monkeypatch)


def leave_out_pictures(monkeypatch):
    for name in (
        *(f"transfer.pictures.curves.plot_{what}" for what in ("history", "rungs")),
        "transfer.pictures.leaderboard.plot_leaderboard",
        "transfer.pictures.parameters.plot_parameters",
    ):
        monkeypatch.setattr(name, lambda *args, **kwargs: None)


class TrainedError(Exception):
    """Something was asked to train."""


# ---- what it leaves


def test_all_heads_are_listed_best_first(swept, place):
    result = result_of(place, "swept")
    heads = result["heads"]
    assert result["tried"] == len(heads) == 6
    points = {(head["class_weights"], head["learning_rate"]) for head in heads}
    kinds = ("none", "balanced")
    assert points == {(kind, rate) for kind in kinds for rate in (0.0001, 0.003, 0.02)}
    accuracies = [head["val_accuracy"] for head in heads]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.4  # of ten classes
    for kind in kinds:
        of_one_group = [head for head in heads if head["class_weights"] == kind]
        assert [head["finished"] for head in of_one_group].count(True) == 2
        assert all(head["trained"] == (5 if head["finished"] else 2) for head in of_one_group)
        assert all(1 <= head["best_epoch"] <= head["trained"] for head in heads)
    assert {head["accuracy_error"] for head in heads} == {None}
    assert (result["folds"], result["seeds"]) == (1, 1)
    assert result["chosen"]["val_accuracy"] == pytest.approx(accuracies[0], abs=1e-6)


def test_the_table_has_all_heads_and_the_median_is_theirs(swept, place):
    with (place / "runs" / "swept" / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    heads = result_of(place, "swept")["heads"]
    assert [float(line["accuracy"]) for line in lines] == [
        round(head["val_accuracy"], 4) for head in heads
    ]
    assert [(line["class_weights"], float(line["learning_rate"])) for line in lines] == [
        (head["class_weights"], head["learning_rate"]) for head in heads
    ]
    assert [line["chosen"] for line in lines] == ["yes", "", "", "", "", ""]
    losses = [float(line["log loss"]) for line in lines]
    (line,) = [line for line in swept.splitlines() if "6 heads tried;" in line]
    lead = float(line.split("the best is ")[1].split()[0])
    assert lead == pytest.approx(np.median(losses) - min(losses), abs=1.5e-4)
    assert lead > 0
    result = result_of(place, "swept")
    assert result["lead_over_median"] == pytest.approx(lead, abs=1e-4)
    assert result["lead_by_luck"] is None  # one split says nothing of errors


def test_each_rung_is_said(swept):
    rungs = [line for line in swept.splitlines() if "best val accuracy" in line]
    assert len(rungs) == 4
    assert sum("2 go on" in line for line in rungs) == 2
    assert all("3 heads" in line for line in rungs)


def test_pictures_are_pictures(swept, place):
    for name in (*PICTURES, "head-history.png"):
        with Image.open(place / "runs" / "swept" / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_the_winner_is_saved_as_the_run_s_head(swept, place):
    folder = place / "runs" / "swept"
    best, head = result_of(place, "swept")["heads"][0], result_of(place, "swept", "head.json")
    assert head["fit"]["class_weights"] == best["class_weights"]
    assert head["fit"]["learning_rate"] == best["learning_rate"]
    assert (head["best_epoch"], head["epochs"]) == (best["best_epoch"], best["trained"])
    assert head["val_accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert head["temperature"] >= 1
    calibrated = head["val_loss"] / best["val_loss"]
    assert calibrated == pytest.approx(1, rel=1e-4) or head["temperature"] > 1 > calibrated
    with (folder / "head-history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == head["epochs"]
    row = history[head["best_epoch"] - 1]
    assert float(row["val_accuracy"]) == pytest.approx(best["val_accuracy"], abs=1e-5)


@pytest.fixture(scope="module")
def alone(swept, place):
    """What `transfer head --refit` makes of the winner's options: Keras models, no bank."""
    fit = result_of(place, "swept", "head.json")["fit"]
    words = ["--learning-rate", str(fit["learning_rate"]), "--epochs", "5", "--refit"]
    words += ["--class-weights", fit["class_weights"]]
    with pytest.MonkeyPatch.context() as patched:
        leave_out_pictures(patched)
        said_by("head", *options(place, "alone", *words))
    return result_of(place, "alone", "head.json")


def test_transfer_head_trains_the_same_head(swept, place, alone):
    best = result_of(place, "swept", "head.json")
    assert alone.keys() == best.keys()
    assert (alone["head"], alone["fit"]) == (best["head"], best["fit"])
    # Its scores are those before it was trained once more.
    assert alone["val_accuracy"] == pytest.approx(best["val_accuracy"], abs=1.1 / 58)
    assert alone["val_loss"] == pytest.approx(best["val_loss"], rel=0.01)


def test_the_exported_classifier_scores_what_the_sweep_says(swept, place):
    chosen = result_of(place, "swept")["chosen"]
    exported = ["--models", str(place / "runs" / "swept" / "classifier.keras")]
    for split in ("val", "test"):
        more = ["--split", split, "--no-pictures", *exported]
        said_by("evaluate", *options(place, "swept", *more))
        models = result_of(place, "swept", f"evaluation-{split}.json")["models"]
        for name in ("head", "classifier"):  # from the features, and from pixels
            assert models[name]["accuracy"] == pytest.approx(chosen[f"{split}_accuracy"], abs=1e-6)
            assert models[name]["loss"] == pytest.approx(chosen[f"{split}_loss"], rel=1e-3)
    assert f"{chosen['test_accuracy']:.4f}, loss {chosen['test_loss']:.4f}" in swept


def test_fine_tuning_accepts_the_winner(swept, place, monkeypatch):
    """It scores the classifier from pixels first, and refuses one that is not the head's."""

    def train(tuner, *arguments):
        raise TrainedError

    monkeypatch.setattr("transfer.finetuning.tuning.Tuner.train", train)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(TrainedError):
        words = ["--unfreeze", "1", "--epochs", "1", "--learning-rate", "1e-4"]
        main(["finetune", *options(place, "swept", *words)])
    pixels, cached = re.search(
        r"log loss (\S+) from .*, (\S+) from cached features", said.getvalue()
    ).groups()
    assert float(pixels) == pytest.approx(float(cached), abs=2e-4)


LINEAR = ["--epochs", "4", "--rungs", "--grid"]


def test_linear_heads_take_part_and_are_as_good_as_those_of_the_head_stage(place):
    said = said_by("sweep", *options(place, "linear"))
    result = result_of(place, "linear")
    assert "--grid hidden=128,256 tries some" in said  # of so few images
    assert (result["folds"], result["heads"]) == (5, [])
    assert result["tried"] > len(result["linear"]) > 5
    losses = [one["val_loss"] for one in result["linear"]]
    assert losses == sorted(losses)
    assert 0 < result["lead_by_luck"] < 1
    said_by("head", *options(place, "chosen"))
    alone = result_of(place, "chosen", "head.json")
    swept = result_of(place, "linear", "head.json")
    assert swept["chosen"]["loss"] <= alone["chosen"]["loss"] + 1e-9
    with (place / "runs" / "linear" / "sweep.csv").open(newline="") as file:
        (kept,) = [line for line in csv.DictReader(file) if line["chosen"]]
    assert float(kept["log loss"]) == round(swept["chosen"]["loss"], 4)
    assert result["chosen"]["test_accuracy"] > 0.4  # of ten classes
    # It is a head like any other: all stages take it.
    said_by("evaluate", *options(place, "linear", "--no-pictures"))
    scores = result_of(place, "linear", "evaluation-test.json")["models"]["head"]
    assert scores["accuracy"] == result["chosen"]["test_accuracy"]


def test_a_trained_head_wins_by_more_than_a_standard_error_or_not_at_all(place, quick):
    # Heads that hardly learn.
    said_by("sweep", *options(place, "weak", *LINEAR, "learning_rate=1e-6"))
    weak = result_of(place, "weak")
    assert weak["heads"][0]["loss_error"] > 0
    assert "sees" in weak["chosen"] and weak["heads"][0]["val_loss"] > weak["chosen"]["loss"]
    # Linear heads on noise, heads of the search on features that tell classes apart.
    grid = ["--use-cuts", "block_1_depthwise_relu", *LINEAR, "hidden=64", "--baselines"][:-1]
    said_by("sweep", *options(place, "strong", *grid, "--no-linear"))
    strong = result_of(place, "strong")
    assert "sees" not in strong["chosen"] and strong["linear"] == []


def test_linear_heads_say_which_features_they_are_of(place, quick):
    cuts = ["block_1_depthwise_relu", "block_2_add", "block_1_depthwise_relu+block_2_add"]
    said_by("sweep", *options(place, "told", *LINEAR, f"use_cuts={','.join(cuts)}", "l2=0"))
    linear = result_of(place, "told")["linear"]
    assert {one["sees"].rpartition("use_cuts=")[2] for one in linear} == set(cuts)


@pytest.fixture
def no_training(monkeypatch):
    def fit(*args, **kwargs):
        raise TrainedError

    monkeypatch.setattr(HeadBank, "fit", fit)


def test_a_finished_sweep_trains_nothing_and_says_the_same(swept, place, no_training, quick):
    before = result_of(place, "swept")
    said = said_by(*sweep(place, "swept", *GRID))
    assert result_of(place, "swept") == before  # seconds, too
    table = [line for line in swept.splitlines() if line.startswith("│")]
    assert [line for line in said.splitlines() if line.startswith("│")] == table
    assert "best val accuracy" not in said


@pytest.mark.parametrize(
    "more",
    [
        ["--l2", "0.02"],
        ["--label-smoothing", "0.1"],
        ["--val-fraction", "0.3"],
        ["--test-fraction", "0.2"],
        ["--rungs", "3"],
        ["--rungs"],
        ["--keep", "0.9"],
        ["--seeds", "2"],
        ["--folds", "2"],
        ["--group", "[0-9]+"],
        ["--epochs", "6"],
        ["--seed", "1"],
        ["--use-cuts", "block_2_add"],
        ["--grid", "learning_rate=0.02"],
    ],
    ids=lambda more: " ".join(more),
)
def test_another_option_is_another_sweep(more, swept, place, no_training):
    with pytest.raises(TrainedError):
        main(sweep(place, "swept", *GRID, *more))


def test_a_damaged_journal_is_said_and_its_heads_train_again(place, swept, quick):
    shutil.copytree(place / "runs" / "swept" / "sweep", place / "runs" / "damaged" / "sweep")
    command = sweep(place, "damaged", *GRID)
    truncated, flipped = sorted((place / "runs" / "damaged" / "sweep").glob("*.npz"))
    whole = truncated.read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    kept = flipped.read_bytes()
    said = said_by(*command)
    (line,) = [line for line in said.splitlines() if "is damaged" in line]
    assert str(truncated) in line and "train again" in line
    assert said.count("best val accuracy") == 2  # the rungs of one group
    assert flipped.read_bytes() == kept
    assert without_seconds(result_of(place, "damaged")) == without_seconds(
        result_of(place, "swept")
    )
    broken = bytearray(kept)
    broken[len(kept) // 3] ^= 16
    flipped.write_bytes(broken)
    assert str(flipped) in said_by(*command)
    assert without_seconds(result_of(place, "damaged")) == without_seconds(
        result_of(place, "swept")
    )


TORN = """
import os, signal, sys
import numpy as np
from pipelines.cli import main
save = np.savez
def torn(file, *args, **kwargs):
    save(file, *args, **kwargs)
    file.truncate(file.tell() // 2)
    os.kill(os.getpid(), signal.SIGKILL)
np.savez = torn
main(sys.argv[1:])
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def files_in(folder):
    """Name, number and time of each file that a reader would take."""
    with contextlib.suppress(FileNotFoundError):
        paths = list(folder.glob("[!.]*.npz"))
        return {(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
    return set()


def kill_at_change(process, folder):
    """Kills a process as soon as anything in a folder is new."""
    before = files_in(folder)
    try:
        while files_in(folder) == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
    finally:
        process.kill()
    return process.communicate()


def test_a_killed_sweep_goes_on_and_ends_in_the_same_table(swept, place, quick):
    command = sweep(place, "killed", *GRID)
    journal = place / "runs" / "killed" / "sweep"
    process = start("-m", "pipelines.cli", *command)
    said = [kill_at_change(process, journal)]
    assert process.returncode == -signal.SIGKILL
    assert files_in(journal)
    # Started again it goes on; half of its first write is on disk when it is killed again.
    process = start("-c", TORN, *command)
    said.append(process.communicate())
    assert process.returncode == -signal.SIGKILL
    (torn,) = journal.glob(".*.tmp")
    assert torn.stat().st_size > 0
    for output, errors in said:
        assert "trained in" not in output
        assert errors == ""  # the features are there; Keras is imported for the heads alone
    assert said_by(*command).count("best val accuracy") < 4  # rungs: the others were there
    assert without_seconds(result_of(place, "killed")) == without_seconds(result_of(place, "swept"))
    heads = [result_of(place, run, "head.json") for run in ("killed", "swept")]
    assert without_seconds(heads[0]) == without_seconds(heads[1])


def test_several_jobs_come_to_the_same_table(swept, place, quick):
    said = said_by(*sweep(place, "jobs", *GRID, "--jobs", "2"))
    assert "6 heads tried" in said
    found, right = result_of(place, "jobs"), result_of(place, "swept")
    assert without_seconds(found) == without_seconds(right)


def test_journals_of_other_searches_are_forgotten_and_the_last_search_goes_on(
    swept, place, quick, monkeypatch
):
    shutil.copytree(place / "runs" / "swept" / "sweep", place / "runs" / "forgetful" / "sweep")
    command = sweep(place, "forgetful", "--grid", "learning_rate=0.02", "--epochs", "1")
    said_by(*command)
    told = json.loads(said_by("cache", "list", "--json", "--artifacts", str(place)))
    (written_down,) = [one for one in told if one.get("run") == "forgetful"]
    assert (written_down["files"], written_down["files_of_other_searches"]) == (3, 2)
    said = said_by("cache", "forget", "forgetful", "--artifacts", str(place))
    assert "removed 2 files of the journal of forgetful" in said
    monkeypatch.setattr(HeadBank, "fit", None)  # the last search trains nothing
    before = result_of(place, "forgetful")
    said_by(*command)
    assert result_of(place, "forgetful") == before


def test_what_a_killed_search_wrote_down_is_not_that_of_another(place, swept):
    shutil.copytree(place / "runs" / "swept" / "sweep", place / "runs" / "killed-first" / "sweep")
    process = start("-m", "pipelines.cli", *sweep(place, "killed-first", "--grid", "l2=0,0.1"))
    kill_at_change(process, place / "runs" / "killed-first" / "sweep")
    forget = ["cache", "forget", "killed-first", "--artifacts", str(place), "--json"]
    (forgotten,) = json.loads(said_by(*forget))
    assert forgotten["files"] == 2
    assert len(list((place / "runs" / "killed-first" / "sweep").glob("*.npz"))) == 1


# ---- candidates


def test_heads_that_differ_in_options_without_effect_are_one(place, quick):
    grid = ["hidden=0,4", "activation=relu,gelu", "momentum=uniform(0,0.9)", "--samples", "40"]
    said = said_by(*sweep(place, "alike", "--epochs", "1", "--grid", *grid))
    assert "sweep: 3 heads tried" in said
    heads = result_of(place, "alike")["heads"]
    assert sorted(tuple(head["hidden"]) for head in heads) == [(), (4,), (4,)]
    with (place / "runs" / "alike" / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["hidden"], line["activation"]) for line in lines} == {
        *[("0", ""), ("4", "relu"), ("4", "gelu")]
    }
    assert "momentum" not in lines[0]


# ---- over cache entries


def test_one_leaderboard_over_several_feature_files(place, capsys):
    """Size, views, cuts and cuts used are searched; only one head can learn anything."""
    grid = ["image_size=40", "views=identity+(center+flip)", "use_cuts=block_1_depthwise_relu"]
    grid += ["hidden=16", "learning_rate=0.02"]
    for word in ("use_cuts=block_2_add", "cut=block_2_add"):
        grid += ["or", word, "learning_rate=0.0000001"]
    before = set(place.glob("features/*/features.h5"))
    said = said_by(*sweep(place, "entries", "--grid", *grid, "--epochs", "4"))
    assert said.count("made in") == 2  # 40 pixels in two views, and one cut
    new = set(place.glob("features/*/features.h5")) - before
    assert len(new) == 2
    assert len(list((place / "runs" / "entries" / "sweep").glob("*.npz"))) == 3
    heads = result_of(place, "entries")["heads"]
    assert len(heads) == 3
    assert heads[0]["hidden"] == [16] and "hidden" not in heads[1]
    assert heads[0]["image_size"] == 40 and heads[0]["views"] == ["identity", "center+flip"]
    assert heads[0]["val_accuracy"] > heads[1]["val_accuracy"] + 0.1
    with (place / "runs" / "entries" / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["views"] == "identity+(center+flip)" and lines[0]["cut"] == ""
    cuts = sorted(line["use_cuts"] for line in lines)
    assert cuts == ["", "block_1_depthwise_relu", "block_2_add"]

    head = result_of(place, "entries", "head.json")
    assert head["cuts"] == ["block_1_depthwise_relu"]
    (entry,) = [path for path in new if path.parent.name == head["features"][:16]]
    with FeatureFile(entry) as features:
        assert features.spec.image_size == (40, 40)
        assert features.spec.views == ("identity", "center+flip")
    # The winner's own setup went into the export, and is what the other stages ask for.
    exported = ["--models", str(place / "runs" / "entries" / "classifier.keras")]
    own = ["--image-size", "40", "--views", "identity", "center+flip"]
    assert f"take the chosen head with {' '.join(own)}, or with --run entries alone" in said
    said_by("evaluate", "--artifacts", str(place), "--run", "entries", "--no-pictures")
    refusal = refused(capsys, "evaluate", *options(place, "entries", *exported))
    assert "give --image-size 40" in refusal  # the views are the run's, no flag says others
    own.append("--no-pictures")
    said_by("evaluate", *options(place, "entries", *own, *exported, "--split", "val"))
    models = result_of(place, "entries", "evaluation-val.json")["models"]
    for name in ("head", "classifier"):  # calibrated, which moves the mean of several views
        assert models[name]["accuracy"] == pytest.approx(head["val_accuracy"], abs=1e-6)
        assert models[name]["accuracy"] == pytest.approx(heads[0]["val_accuracy"], abs=0.05)


def test_compiling_for_many_sizes_is_nobody_s_business():
    """TensorFlow warns of a function that it compiles five times, which banks shrink to do."""
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("tensorflow").addHandler(handler)
    try:
        doubled = compiled(lambda values: 2 * values)
        for size in range(1, 9):
            assert np.asarray(doubled(ops.ones(size))).sum() == 2 * size
    finally:
        logging.getLogger("tensorflow").removeHandler(handler)
    assert not heard


# ---- seeds, folds, refitting


def test_folds_choose_and_the_usual_split_and_refit_follow(swept, place, alone, quick):
    rate, kind = (alone["fit"][name] for name in ("learning_rate", "class_weights"))
    more = ["--grid", f"learning_rate=0.0001,{rate}", "--class-weights", kind, "--epochs", "5"]
    said = said_by(*sweep(place, "folds", *more, "--rungs", "--folds", "2", "--refit"))
    result = result_of(place, "folds")
    assert (result["folds"], len(result["heads"])) == (2, 2)
    best = result["heads"][0]
    assert best["learning_rate"] == rate and best["accuracy_error"] > 0 and best["trained"] == 5
    assert "+-" in said
    # Cross-validation chose; what is exported is what `transfer head --refit` makes of it.
    assert without_seconds(result_of(place, "folds", "head.json")) == without_seconds(alone)
    said_by("evaluate", *options(place, "alone", "--no-pictures"))
    scores = result_of(place, "alone", "evaluation-test.json")["models"]["head"]
    assert result["chosen"]["refitted"]
    assert result["chosen"]["test_accuracy"] == scores["accuracy"]
    assert result["chosen"]["test_loss"] == pytest.approx(scores["loss"], abs=1e-6)


def test_of_several_seeds_the_best_is_saved(place, quick):
    grid = ["--grid", "learning_rate=0.02", "--epochs", "4", "--rungs", "--seeds", "3"]
    said_by(*sweep(place, "seeds", *grid))
    result, head = result_of(place, "seeds"), result_of(place, "seeds", "head.json")
    (mean,) = result["heads"]
    assert mean["accuracy_error"] > 0 and result["seeds"] == 3
    assert head["fit"]["seed"] in (0, 1, 2)
    assert mean["val_accuracy"] < head["val_accuracy"] == result["chosen"]["val_accuracy"]


# ---- heads that go wrong


def test_a_head_that_diverges_is_last_and_no_obstacle(place, quick):
    grid = ["--grid", "learning_rate=0.003,0.02,1e38", "--epochs", "2"]
    said_by(*sweep(place, "diverged", *grid, "--rungs"))
    heads = result_of(place, "diverged")["heads"]
    assert heads[-1]["learning_rate"] == 1e38
    assert heads[-1]["val_loss"] is None or heads[-1]["val_loss"] > 1e3
    assert heads[0]["val_loss"] < 10


def test_the_winner_is_a_head_that_was_not_dropped(place, monkeypatch, quick):
    """By loss a head may stay whose accuracy falls below that of one that was dropped."""
    judge = HeadBank._judge

    def prescribed(bank, val):
        judge(bank, val)
        losses, accuracies = [1.0, 1.1, 1.2], [0.5, 0.5, 0.5]
        if bank.epochs_done <= 2:
            losses, accuracies = [3.0, 3.0, 3.0], [0.9, 0.8, 0.7]
        places = bank.state()["places"].tolist()
        return [np.array(values)[places] for values in (losses, accuracies)]

    monkeypatch.setattr(HeadBank, "_judge", prescribed)
    grid = ["--grid", "learning_rate=0.02,0.003,0.0001", "--epochs", "5", "--rungs", "2"]
    said_by(*sweep(place, "by-loss", *grid, "--monitor", "val_loss"))
    head = result_of(place, "by-loss", "head.json")
    assert (head["fit"]["learning_rate"], head["epochs"]) == (0.02, 5)


def test_without_test_images_nothing_is_scored_on_them(place, quick):
    more = ["--test-fraction", "0", "--grid", "learning_rate=0.02", "--epochs", "1"]
    said = said_by(*sweep(place, "no-test", *more))
    assert "no test images" in said
    assert "test_accuracy" not in result_of(place, "no-test")["chosen"]


MISTAKES = {
    "nothing to draw": (["--samples", "0"], "--samples expects at least 1"),
    "no seeds": (["--seeds", "0"], "--seeds expects at least 1"),
    "no folds": (["--folds", "0"], "--folds expects at least 1"),
    "no jobs": (["--jobs", "0"], "--jobs expects at least 1"),
    "nothing kept": (["--keep", "0"], "--keep expects a share above 0"),
    "more than all kept": (["--keep", "1.5"], "received 1.5"),
    "an odd share": (["--keep", "nan"], "--keep"),
    "rungs that fall": (["--rungs", "6", "2"], "--rungs expects increasing epochs"),
    "a rung twice": (["--rungs", "2", "2"], "--rungs expects increasing epochs"),
    "a rung before the first epoch": (["--rungs", "0", "2"], "--rungs"),
    "an unknown name": (["--grid", "learning_rat=3"], "such as learning-rate"),
    "no such cluster": (["--parallel", "slurm"], "slurm"),
    "a width below one": (["--grid", "hidden=-5"], "--hidden expects widths of at least 1"),
    "a share above one": (["--grid", "dropout=1.5"], "--dropout expects a share"),
    "a negative penalty": (["--grid", "l2=-1"], "--l2 expects a penalty of at least 0"),
    "a rate of nothing": (["--grid", "learning_rate=0"], "--learning-rate expects more than 0"),
    "no epochs": (["--grid", "epochs=0"], "--epochs expects at least 1"),
    "an unknown activation": (["--grid", "activation=rulo", "hidden=8"], "'rulo'"),
    "an unknown cut": (["--grid", "cut=nope"], "nope"),
    "an unknown cut to use": (["--grid", "use_cuts=nope"], "nope"),
    "an unknown view": (["--grid", "views=upside-down"], "upside-down"),
    "one output for ten classes": (["--grid", "output=sigmoid"], "--output sigmoid"),
    "too many folds": (["--folds", "999", "--grid", "l2=0"], "--folds expects"),
    "a seed twice": (["--seeds", "2", "--grid", "seed=0,1"], "--seeds expects no seed in --grid"),
    "a seed below zero": (["--grid", "seed=-1"], "--seed expects at least 0"),
    "no rows to choose by after folds": (
        ["--folds", "2", "--val-fraction", "0", "--grid", "l2=0"],
        "raise --val-fraction",
    ),
    "no rows to judge by": (["--val-fraction", "0", "--grid", "l2=0"], "--val-fraction"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(mistake, place, capsys):
    more, words = MISTAKES[mistake]
    assert words in refused(capsys, *sweep(place, "mistakes", *more))


def test_where_all_heads_diverge_nothing_is_saved(place, capsys):
    grid = ["--grid", "learning_rate=1e10", "optimizer=sgd", "--epochs", "2"]
    assert "received 1 that diverged" in refused(capsys, *sweep(place, "all diverged", *grid))
    assert [path.name for path in (place / "runs" / "all diverged").iterdir()] == ["sweep"]


def test_a_second_sweep_in_the_folder_waits_for_the_first(swept, place, quick, monkeypatch):
    said = []
    monkeypatch.setattr("cache.lock._holder", lambda path: "another")
    with Journal(place / "runs" / "swept" / "sweep").locked(lambda holder: None):
        second = threading.Thread(
            target=lambda: said.append(said_by(*sweep(place, "swept", *GRID))), daemon=True
        )
        second.start()
        second.join(2)
        assert second.is_alive() and not said
    second.join(60)
    assert "sweep: waiting for another" in said[0]


def test_the_journal_removes_what_a_kill_left_once_it_is_alone(tmp_path):
    leftover = tmp_path / ".some.npz.host.1.2.tmp"
    leftover.touch()
    with Journal(tmp_path).locked(lambda holder: None):
        assert not leftover.exists()


def test_a_head_that_cannot_be_built_is_refused_before_any_trains(place, capsys, no_training):
    more = ["--grid", "l2=0", "or", "hidden=4", "dropout=1.5"]
    said = refused(capsys, *sweep(place, "mistakes", *more))
    assert "--dropout expects a share" in said

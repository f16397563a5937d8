"""The head that is chosen where nothing is said about it, as a user types it."""

import json
import shutil

import numpy as np
import pytest

from cache import FeatureFile
from pipelines.cli import main, parse
from pipelines.features import split_of
from pipelines.heads.choosing import choose_again
from pipelines.models import load_head, read_head
from tests.pipelines.small_runs import SMALL, options, photographs, refused
from transfer.errors import InputError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photographs with a head that was chosen in the run `run`."""
    folder = tmp_path_factory.mktemp("chosen")
    photographs(folder / "photos")
    assert main(["head", *options(folder)]) == 0
    return folder


def run_of(place, name="run"):
    return place / "artifacts" / "runs" / name


def result_of(place, name="run"):
    return json.loads((run_of(place, name) / "head.json").read_text())


def features_of(place):
    (path,) = (place / "artifacts" / "features").glob("*/features.h5")
    return FeatureFile(path)


def test_it_says_what_was_compared_what_was_chosen_and_why(place, capsys):
    assert main(["head", *options(place, "--run", "said")]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = " ".join(" ".join(lines).split())
    assert "linear heads judged by 36 images, each when held out, in 5 folds: 12 for" in said
    (chose,) = [line for line in lines if line.startswith("head: chose ")]
    assert "lowest log loss" in chose
    chosen = result_of(place, "said")["chosen"]
    scores = f"accuracy {chosen['accuracy']:.4f} +- {chosen['accuracy_error']:.4f}"
    assert any(f"cross-validated {scores}" in line for line in lines)
    assert chosen["folds"] == 5 and chosen["judged_by"] == 36 and chosen["tried"] > 10


@pytest.mark.parametrize("stage", ["head", "sweep"])
def test_cuts_that_there_are_not_are_refused(place, capsys, stage):
    with features_of(place) as features:
        known = features.cuts[-1]
    for cuts in (["nope"], [known, "nope"]):
        said = refused(capsys, stage, *options(place, "--run", "refused", "--use-cuts", *cuts))
        assert "--use-cuts expects some of" in said and said.strip().endswith("received nope")


def test_what_was_said_of_images_not_seen_is_kept(place):
    result = result_of(place)
    with np.load(run_of(place) / "oof.npz") as file, features_of(place) as features:
        kept = {name: file[name] for name in file.files}
        labels = dict(zip(features.ids, features.labels, strict=True))
    assert kept["head_id"] == result["id"]
    assert len(set(kept["ids"])) == len(kept["ids"]) == 36
    assert [labels[id] for id in kept["ids"]] == kept["labels"].tolist()
    assert set(kept["folds"]) == set(range(5))
    np.testing.assert_allclose(kept["probabilities"].sum(1), 1, atol=1e-5)
    hits = kept["probabilities"].argmax(1) == kept["labels"]
    assert hits.mean() == pytest.approx(result["chosen"]["accuracy"])


def test_the_classifier_says_of_pixels_what_the_head_says_of_features(place):
    loose = ["--models", str(run_of(place) / "classifier.keras"), "--no-pictures"]
    assert main(["evaluate", *options(place, *loose)]) == 0
    scores = json.loads((run_of(place) / "evaluation-test.json").read_text())["models"]
    assert scores["classifier"]["loss"] == pytest.approx(scores["head"]["loss"], abs=5e-3)
    assert scores["head"]["accuracy"] > 0.8


def test_the_same_is_chosen_again(place):
    setup, head = parse("head", options(place)).setup, read_head(run_of(place))
    with features_of(place) as features, np.load(run_of(place) / "oof.npz") as file:
        split = split_of(features, setup.data)
        made = choose_again(setup, features, split, head)
        assert made.choice.chosen.loss == pytest.approx(head["chosen"]["loss"], abs=1e-6)
        assert made.choice.chosen.transform == head["chosen"]["transform"]
        judging = made.plan.rows[made.choice.images]
        assert list(features.ids[judging]) == list(file["ids"])
        np.testing.assert_allclose(made.choice.probabilities, file["probabilities"], atol=1e-5)
        other = head | {"chosen": head["chosen"] | {"loss": head["chosen"]["loss"] + 1e-3}}
        with pytest.raises(InputError, match="expected to find the same again") as caught:
            choose_again(setup, features, split, other)
    assert "\n" not in str(caught.value)


def test_fine_tuning_starts_from_heads_that_have_not_seen_what_judges(place, capsys):
    tuning = ["--unfreeze", "1", "--epochs", "1", "--batch-size", "8", "--learning-rate", "1e-9"]
    assert main(["finetune", *options(place, *tuning)]) == 0
    assert "36 images, each when held out, in 5 folds" in " ".join(capsys.readouterr().out.split())
    result = json.loads((run_of(place) / "finetune.json").read_text())
    chosen = result_of(place)["chosen"]
    assert result["before"]["val_accuracy"] == pytest.approx(chosen["accuracy"])
    with np.load(run_of(place) / "oof.npz") as file:
        of_truth = file["probabilities"][np.arange(36), file["labels"]]
    assert result["before"]["val_loss"] == pytest.approx(-np.log(of_truth).mean(), abs=1e-3)


def test_a_remembered_head_is_repeated_until_one_is_to_be_chosen(place, capsys):
    more = ["--artifacts", str(place / "artifacts"), "--run", "again"]
    assert main(["head", *options(place, "--hidden", "4", "--epochs", "2", *more[2:])]) == 0
    capsys.readouterr()
    assert main(["head", *more]) == 0
    assert "--hidden 4, --epochs 2" in capsys.readouterr().out
    assert "chosen" not in result_of(place, "again")
    assert main(["head", *more, "--choose"]) == 0
    assert "chosen" in result_of(place, "again")
    assert not (run_of(place, "again") / "head-history.csv").exists()
    assert main(["head", *more]) == 0
    assert "chosen" in result_of(place, "again")


@pytest.mark.parametrize(
    "more",
    [
        ["--views", "identity,flip", "center"],
        ["--storage", "float16"],
        ["--cut", "block_2_add", "--pooling", "none"],
    ],
    ids=["views", "float16", "positions"],
)
def test_a_head_is_chosen_on_every_kind_of_features(place, more):
    words = options(place, "--run", more[-1])
    if "--cut" in more:
        at = words.index("--cut")
        words[at : at + 3] = []
    assert main(["head", *words, *more]) == 0
    result = result_of(place, more[-1])
    assert result["chosen"]["accuracy"] > 0.6
    words += [*more, "--models", str(run_of(place, more[-1]) / "classifier.keras")]
    assert main(["evaluate", *words, "--no-pictures"]) == 0
    scores = json.loads((run_of(place, more[-1]) / "evaluation-test.json").read_text())["models"]
    assert scores["classifier"]["loss"] == pytest.approx(scores["head"]["loss"], abs=5e-3)


def test_a_validation_split_that_was_given_is_not_learned_from(tmp_path):
    photographs(tmp_path / "photos" / "train")
    photographs(tmp_path / "photos" / "val", count=6)
    words = ["--data", str(tmp_path / "photos"), "--artifacts", str(tmp_path / "artifacts")]
    assert main(["head", *words, "--run", "given", *SMALL]) == 0
    given = result_of(tmp_path, "given")
    assert not given["refitted"] and given["chosen"]["judged_by"] == 48
    with np.load(run_of(tmp_path, "given") / "oof.npz") as file:
        assert all(id.startswith("train/") for id in file["ids"])
    # Labels of its images change its score and nothing else.
    for one in sorted((tmp_path / "photos" / "val" / "cat").iterdir())[:4]:
        shutil.move(one, tmp_path / "photos" / "val" / "dog" / f"was {one.name}")
    assert main(["head", *words, "--run", "moved", *SMALL]) == 0
    kernels = [load_head(run_of(tmp_path, run))[1].get_weights() for run in ("given", "moved")]
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_array_equal(one, other)
    assert result_of(tmp_path, "moved")["val_accuracy"] < given["val_accuracy"]
    assert main(["head", *words, "--run", "refit", "--refit", *SMALL]) == 0
    assert result_of(tmp_path, "refit")["chosen"]["judged_by"] == 60


def test_fine_tuning_asks_for_no_validation_images_where_folds_judge(tmp_path):
    photographs(tmp_path / "photos")
    words = [
        *["--data", str(tmp_path / "photos"), "--artifacts", str(tmp_path / "artifacts")],
        *["--run", "run", "--val-fraction", "0", *SMALL],
    ]
    assert main(["head", *words]) == 0
    assert not result_of(tmp_path)["refitted"]
    assert main(["finetune", *words, "--epochs", "1", "--learning-rate", "1e-9"]) == 0
    result = json.loads((run_of(tmp_path) / "finetune.json").read_text())
    assert result["judged_by"] == result_of(tmp_path)["chosen"]["judged_by"]


def test_a_new_name_begins_a_run_of_the_same_images(place, capsys):
    at = ["--artifacts", str(place / "artifacts")]
    assert main(["head", *options(place, "--run", "first")]) == 0
    assert main(["head", *at, "--run", "second", "--hidden", "4", "--epochs", "1"]) == 0
    first, second = (result_of(place, run) for run in ("first", "second"))
    assert first["features"] == second["features"] and second["head"]["hidden"] == [4]
    capsys.readouterr()
    assert main(["evaluate", *at, "--no-pictures"]) == 0
    assert "goes on with run second" in capsys.readouterr().out


def test_features_too_large_for_the_memory_are_said_and_a_head_is_trained(place, capsys):
    small = ["--memory-budget", "0.000001", "--run", "streamed"]
    assert main(["head", *options(place, *small)]) == 0
    said = capsys.readouterr().out
    assert "to choose one takes the features in memory, so one is trained instead" in said
    assert "chosen" not in result_of(place, "streamed")

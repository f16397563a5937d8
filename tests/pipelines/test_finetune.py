"""Fine-tuning, as a user types it: as far as images not seen say, or not at all."""

import csv
import json

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.evaluating.predictions import read_predictions
from pipelines.finetuning.prefix import why_not
from tests.pipelines.small_runs import options, refused
from tests.tunings import (
    PLAIN,
    RATE,
    check_same,
    copied,
    result_of,
    run_of,
    strike,
    textures,
    weights_of,
    words,
)
from transfer.finetuning.augmentation import AugmentOptions

FIELDS = {
    *("id", "head_id", "judged_by", "folds", "before", "after", "loss_difference_error"),
    "way",
    *("share", "temperature", "learning_rate", "epochs", "trained", "parameters", "from"),
    *("seconds", "options"),
}
STORED = "stored outputs of block_1_project_BN"


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Images that are mistaken, with a head that is hardly trained, and one that was chosen."""
    folder = tmp_path_factory.mktemp("hard")
    textures(folder / "photos")
    assert main(["head", *options(folder, "--hidden", "8", "--epochs", "2")]) == 0
    assert main(["head", *options(folder, "--run", "chosen")]) == 0
    return folder


@pytest.fixture(scope="module")
def stored(hard):
    """Fine-tuned on stored outputs, after a rate at which it diverges."""
    classifier = run_of(hard) / "classifier.keras"
    before = classifier.read_bytes()
    copied(hard, "run", "wild")
    copied(hard, "run", "killed")
    copied(hard, "run", "pixels")
    assert main(words(hard, *PLAIN, *RATE)) == 0
    assert classifier.read_bytes() == before
    return result_of(hard)


def head_of(place, name="run"):
    return json.loads((run_of(place, name) / "head.json").read_text())


def one_line(said):
    (line,) = said.strip().splitlines()
    assert line.startswith("transfer finetune: ")
    return line


def table_of(said):
    """Accuracy and loss of each share."""
    rows = [line.split("│")[1:-1] for line in said.splitlines() if line.startswith("│")]
    return [(row[0].strip(), float(row[1]), float(row[2])) for row in rows]


def test_validation_images_judge_a_head_that_was_trained_by_steps(hard, stored):
    head = head_of(hard)
    assert stored.keys() == FIELDS
    assert (stored["head_id"], stored["folds"], stored["judged_by"]) == (head["id"], 1, 20)
    assert stored["before"]["val_loss"] == pytest.approx(head["val_loss"], abs=1e-3)
    assert stored["before"]["val_accuracy"] == pytest.approx(head["val_accuracy"])
    assert stored["after"]["val_loss"] < stored["before"]["val_loss"] - 0.01
    assert stored["share"] == 1 and stored["temperature"] >= 1
    assert (stored["learning_rate"], stored["epochs"], stored["from"]) == (1e-4, 5, STORED)
    assert stored["trained"] == "block_2 and the head" and stored["loss_difference_error"] > 0
    with (run_of(hard) / "finetune-history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["epoch"]) for row in rows] == [("1", str(n)) for n in range(1, 6)]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} < set(rows[0])
    for name in ("finetune-history.png", "finetune-changes.png"):
        assert (run_of(hard) / name).stat().st_size > 1000
    assert not (run_of(hard) / "finetune-checkpoints").exists()


def test_the_saved_model_scores_what_was_said_of_it(hard, stored):
    assert main(["evaluate", *options(hard, "--split", "val", "--no-pictures")]) == 0
    models = json.loads((run_of(hard) / "evaluation-val.json").read_text())["models"]
    assert models["finetuned"]["loss"] == pytest.approx(stored["after"]["val_loss"], abs=1e-3)
    assert models["finetuned"]["accuracy"] == pytest.approx(stored["after"]["val_accuracy"])
    assert read_predictions(run_of(hard), "val").tuned_id == stored["id"]
    assert models["head"]["loss"] == pytest.approx(head_of(hard)["val_loss"], abs=1e-3)
    start, end = (
        weights_of(run_of(hard) / f"{name}.keras") for name in ("classifier", "finetuned")
    )
    changed = [not np.array_equal(one, two) for one, two in zip(start, end, strict=True)]
    assert 0 < sum(changed) < len(changed) / 2, "the frozen part in front stays"


def test_pixels_give_the_same_as_stored_outputs(hard, stored, capsys):
    assert main(words(hard, "--run", "pixels", *PLAIN, *RATE, "--no-prefix-cache")) == 0
    pixels = result_of(hard, "pixels")
    assert pixels["from"] == "pixels" and pixels["share"] == stored["share"]
    for when in ("before", "after"):
        assert pixels[when] == pytest.approx(stored[when], abs=1e-3)
    assert pixels["temperature"] == pytest.approx(stored["temperature"], abs=1e-3)
    histories = [
        np.genfromtxt(run_of(hard, name) / "finetune-history.csv", delimiter=",", skip_header=1)
        for name in ("run", "pixels")
    ]
    np.testing.assert_allclose(histories[1], histories[0], atol=1e-3)
    said = capsys.readouterr().out
    assert [name for name, *_ in table_of(said)] == ["frozen", "25%", "50%", "75%", "100% <"]
    assert table_of(said)[0][1:] == pytest.approx(list(stored["before"].values()), abs=1e-3)
    assert table_of(said)[-1][1:] == pytest.approx(list(stored["after"].values()), abs=1e-3)


def test_what_cannot_be_kept_is_trained_from_pixels(hard, stored, capsys):
    copied(hard, "run", "mixed")
    mixed = ["--run", "mixed", *RATE, "--epochs", "1", "--mixup", "0.2"]
    assert main(words(hard, *mixed)) == 0
    said = capsys.readouterr().out
    assert "finetune: from pixels, since --mixup changes pixels anew in every epoch" in said
    assert result_of(hard, "mixed")["from"] == "pixels"
    plain = AugmentOptions()
    assert why_not("block_1_add", ("identity",), plain) is None
    assert why_not("", ("identity",), plain) is None
    assert "first layer" in why_not(None, ("identity",), plain)
    assert "several views" in why_not("", ("identity", "flip"), plain)
    for name, value in (("cutmix", 1.0), ("erase", 0.5), ("random_augment", 1)):
        flag = "--" + name.replace("_", "-")
        assert flag in why_not("", ("identity",), AugmentOptions(**{name: value}))


def test_where_nothing_is_gained_the_head_stays(hard, stored, capsys):
    copied(hard, "run", "still")
    assert (run_of(hard, "still") / "finetuned.keras").exists()
    still = ["--run", "still", *PLAIN, "--learning-rate", "1e-12"]
    capsys.readouterr()
    # What calibration alone would gain is no reason: this head is surer than it is right.
    assert main(words(hard, *still)) == 0
    assert "nothing is surely better" in capsys.readouterr().out
    result = result_of(hard, "still")
    assert result["share"] == 0 and result["after"] == result["before"]
    assert not (run_of(hard, "still") / "finetuned.keras").exists()
    assert main(["evaluate", *options(hard, "--run", "still", "--no-pictures")]) == 0
    scores = json.loads((run_of(hard, "still") / "evaluation-test.json").read_text())
    assert set(scores["models"]) == {"head"}
    image = hard / "photos" / "cat" / "000.png"
    arguments = ["--artifacts", str(hard / "artifacts"), "--run", "still", "--images", str(image)]
    said = []
    for more in ([], ["--model", str(run_of(hard, "still") / "classifier.keras")]):
        capsys.readouterr()
        assert main(["predict", *arguments, *more]) == 0
        said.append([line for line in capsys.readouterr().out.splitlines() if "000.png" in line])
    assert said[0] and said[0] == said[1]


def test_a_rate_that_diverges_changes_nothing_and_is_not_tried_again(hard, stored, capsys):
    run, wild = run_of(hard, "wild"), ["--run", "wild", *PLAIN]
    before = (run / "classifier.keras").read_bytes()
    said = one_line(refused(capsys, *words(hard, *wild, "--learning-rate", "1e30")))
    assert "fine-tuning diverged at step" in said and "--learning-rate" in said
    again = one_line(refused(capsys, *words(hard, *wild, "--learning-rate", "1e30")))
    assert "--learning-rate expects less than" in again and "diverged the last time" in again
    assert (run / "classifier.keras").read_bytes() == before
    assert not (run / "finetuned.keras").exists() and not (run / "finetune.json").exists()
    assert not (run / "finetune-checkpoints").exists()
    assert main(words(hard, *wild, *RATE)) == 0
    assert result_of(hard, "wild")["after"] == pytest.approx(stored["after"], abs=1e-6)
    assert not (run / "finetune-diverged.json").exists()


def test_of_few_images_each_judges_when_held_out(hard, capsys, monkeypatch):
    from pipelines.finetuning import report

    judgements = []
    result = report.result_of

    def noting(judged, *others):
        judgements.append(judged)
        return result(judged, *others)

    monkeypatch.setattr(report, "result_of", noting)
    copied(hard, "chosen", "folds")
    assert main(words(hard, "--run", "folds", *PLAIN)) == 0
    assert "each when held out, in 5 folds" in " ".join(capsys.readouterr().out.split())
    found, head = result_of(hard, "folds"), head_of(hard, "chosen")
    assert (found["folds"], found["judged_by"]) == (5, 60)
    assert len(set(judgements[0].rows)) == 60
    assert found["before"]["val_loss"] == pytest.approx(head["chosen"]["loss"], abs=2e-3)
    assert 1e-6 <= found["learning_rate"] <= 1e-2, "a test found it"
    assert found["after"]["val_loss"] <= found["before"]["val_loss"] + 1e-3


def test_killed_runs_end_as_unbroken_ones(hard, stored):
    """Kills strike at random, the first of them early; each start goes on."""
    rng = np.random.default_rng(3)
    for low, high in ((4, 12), (6, 14)):
        arguments = words(hard, "--run", "killed", *PLAIN, *RATE, "--prefix-cache")
        assert strike(arguments, int(rng.integers(low, high)))
    assert main(arguments) == 0
    check_same(hard, "run", "killed")


def test_a_head_for_other_features_is_not_fine_tuned(trained, place, capsys):
    arguments = options(place, "--pooling", "max")
    assert "was trained on features" in refused(capsys, "finetune", *arguments)
    assert "was trained on features" in refused(capsys, "evaluate", *arguments)

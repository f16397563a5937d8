"""Comparing runs: what evaluations left, matched by image, in tables and one file."""

import base64
import csv
import io
import json
import re
import shutil
import zipfile
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.evaluating.predictions import Predictions, save_predictions
from pipelines.models import CLASSIFIER, FINETUNE_RESULT, FINETUNED, HEAD_RESULT
from tests.pipelines.pages.reading import read_page
from tests.pipelines.small_runs import options, refused
from transfer.backbones.options import BackboneOptions
from transfer.comparing import mcnemar, paired_interval
from transfer.metrics import cross_entropies

CLASSES = ("cat", "dog", "horse")
LABELS = np.arange(40) % 3


def ids_of(labels, classes=CLASSES):
    return np.array([f"{classes[label]}/{at:02d}.jpg" for at, label in enumerate(labels)])


def said(wrong, surest=0.8):
    """`(40, 3)` of a model that takes the images given for the next class."""
    classes = (LABELS + np.isin(np.arange(len(LABELS)), list(wrong))) % 3
    probabilities = np.full((len(LABELS), 3), (1 - surest) / 2)
    probabilities[np.arange(len(LABELS)), classes] = surest
    return probabilities


@dataclass(frozen=True)
class Runs:
    """A folder of small runs, and the command on it."""

    artifacts: object

    def folder(self, name):
        return self.artifacts / "runs" / name

    def add(self, name, models, *, data="/photos", keep=slice(None), order=(0, 1, 2), **changed):
        """Writes what `head` and `evaluate` leave: classes may stand in another order."""
        folder = self.folder(name)
        folder.mkdir(parents=True)
        (folder / "run.toml").write_text(f'[data]\ndata = "{data}"\n')
        result = {
            "id": f"head of {name}",
            "backbone": asdict(BackboneOptions(backbone="MobileNetV2", alpha=0.35)),
            "cuts": ["block_1_expand", "top"],
            "seconds": 1.25,
            "head": {"hidden": [64]},
        }
        with zipfile.ZipFile(folder / CLASSIFIER, "w") as archive:
            archive.writestr(HEAD_RESULT, json.dumps(result))
        if "finetuned" in models:
            self.tune(name)
        order = np.array(order)
        kept = Predictions(
            "test",
            "features",
            result["id"],
            ids_of(LABELS)[keep],
            np.argsort(order)[LABELS][keep],
            np.array(CLASSES)[order],
            {model: values[keep][:, order] for model, values in models.items()},
            "first tuning" if "finetuned" in models else "",
        )
        save_predictions(folder, replace(kept, **changed))

    def tune(self, name, id="first tuning"):
        tuned = {"id": id, "head_id": f"head of {name}", "trained": "2 of 19 blocks", "share": 0.5}
        with zipfile.ZipFile(self.folder(name) / FINETUNED, "w") as archive:
            archive.writestr(FINETUNE_RESULT, json.dumps(tuned | {"seconds": 30.0}))

    def compare(self, *words):
        return ["compare", *words, "--artifacts", str(self.artifacts)]

    def rows(self, name, file="compare-test.csv"):
        with (self.folder(name) / file).open(encoding="utf-8", newline="") as table:
            return list(csv.DictReader(table))


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "artifacts")


def photographs(folder):
    """An image for each id, of a colour of its own."""
    for at, id in enumerate(ids_of(LABELS)):
        path = folder / id
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 12), (6 * at, 99, 255 - 6 * at)).save(path)
    return folder


def test_a_page_shows_the_images_of_each_pair(runs, tmp_path):
    photos = photographs(tmp_path / "photos")
    runs.add("good", {"head": said({0, 5})}, data=str(photos))
    runs.add("bad", {"head": said({0, *range(10, 20)})}, data=str(photos))
    assert main(runs.compare("good", "bad", "--output", str(tmp_path / "c.csv"))) == 0
    page = read_page(tmp_path / "c.html")
    (_, pair) = page.all("section")
    assert [heading.text for heading in pair.all("h3")] == [
        "Only good is right: 10", "Only bad is right: 1", "Both are wrong, each in its way: 0",
    ]  # fmt: skip
    ids = ids_of(LABELS)
    drawn = [picture.attributes["alt"] for picture in pair.all("img")]
    assert sorted(drawn[:10]) == sorted(ids[10:20])
    assert drawn[10:] == [ids[5]]
    for picture, id in zip(pair.all("img"), drawn, strict=True):
        data = base64.b64decode(picture.attributes["src"].partition(",")[2])
        red, _, blue = Image.open(io.BytesIO(data)).convert("RGB").getpixel((8, 6))
        at = int(id.split("/")[1].split(".")[0])
        assert abs(red - 6 * at) < 12
        assert abs(blue - (255 - 6 * at)) < 12


def test_images_that_are_not_there_are_named(runs, capsys):
    runs.add("good", {"head": said({0})})
    runs.add("bad", {"head": said({0, 1})})
    assert main(runs.compare("good", "bad")) == 0
    assert "compare: images are named, not shown: " in capsys.readouterr().out
    page = read_page(runs.folder("good") / "compare-test.html")
    assert not page.all("img")
    assert page.all("span", class_="missing")[0].text.endswith(ids_of(LABELS)[1])


def cells(said, first):
    """The cells of the first row of a table that begins with this one."""
    row = re.search(rf"^│ {re.escape(first)} .*$", said, re.MULTILINE)
    return [cell.strip() for cell in row[0].strip("│").split("│")]


def test_counts_test_and_images_on_which_two_runs_differ(runs, capsys):
    runs.add("good", {"head": said({0})})
    runs.add("bad", {"head": said({0, *range(10, 20)})})
    assert main(runs.compare("good", "bad")) == 0
    printed = capsys.readouterr().out
    _, pairs = printed.split("which images each has right")
    p = f"{mcnemar(10, 0):.2g}"
    assert cells(printed, "good")[1:5] == [
        *("MobileNetV2 0.35", "224", "hidden 64 on 2 cuts", "0.9750 (0.871 to 0.996)")
    ]
    assert cells(pairs, "good")[1:6] == ["bad", "29", "10", "0", "1"]
    low, high = paired_interval(10, 0, 40)
    assert cells(pairs, "good")[6:8] == [f"+0.250 ({low:+.3f} to {high:+.3f})", p]
    assert "compare: good is surely better than bad in accuracy and in log loss\n" in printed
    assert "10 of 40 images are classed differently" in printed
    rows = runs.rows("good")
    assert {row["id"] for row in rows} == set(ids_of(LABELS)[10:20])
    assert all(row["good"] == row["class"] != row["bad"] for row in rows)
    assert {row["bad probability"] for row in rows} == {"0.8000"}


def test_what_is_not_sure_is_not_called_better(runs, capsys):
    runs.add("one", {"head": said({0, 1, 2})})
    runs.add("other", {"head": said({2, 3})})
    assert main(runs.compare("one", "other")) == 0
    printed = capsys.readouterr().out
    assert "between one and other there is no difference that 40 images could show" in printed
    assert "surely" not in printed


@pytest.mark.parametrize("surer", [True, False])
def test_accuracy_and_log_loss_may_speak_for_different_ones(runs, capsys, surer):
    # The second is right more often, or as often, and far too sure where it is wrong.
    runs.add("calm", {"head": said(range(20 if surer else 12), 0.4)})
    runs.add("sure", {"head": said(range(12), 1.0)})
    assert main(runs.compare("calm", "sure")) == 0
    printed = capsys.readouterr().out
    if surer:
        assert (
            "sure is surely better than calm in accuracy, and surely worse in log loss" in printed
        )
    else:
        assert (
            "calm is surely better than sure in log loss; in accuracy there is no diff" in printed
        )


def test_the_models_of_one_run_and_how_they_were_made(runs, capsys):
    models = {"head": said(range(12)), "finetuned": said(range(2)), "x.onnx": said(range(3))}
    runs.add("a", models)
    (runs.artifacts / "runs" / "latest").symlink_to("a")
    assert main(runs.compare()) == 0
    printed = capsys.readouterr().out
    assert cells(printed, "finetuned")[3] == "2 of 19 blocks, 50% of the way"
    assert [cells(printed, name)[-1] for name in models] == ["1.2", "30.0", ""]
    assert "finetuned is surely better than head in accuracy" in printed
    assert "between finetuned and x.onnx there is no difference" in printed
    assert "corrected by Holm's method for 3 pairs" in printed
    # Of ten images that only finetuned has right, and nine that only x.onnx has.
    _, pairs = printed.split("which images each has right")
    shown = [line.split("│")[8].strip() for line in pairs.splitlines() if line.startswith("│")]
    assert shown == [f"{3 * mcnemar(10, 0):.2g}", f"{2 * mcnemar(9, 0):.2g}", "1"]
    by_name = {row["id"]: row for row in runs.rows("a")}
    assert list(by_name[ids_of(LABELS)[2]].values())[2:] == [
        *("cat", "0.8000", "horse", "0.8000", "cat", "0.8000")
    ]


def test_hardest_images_come_first(runs):
    one, other = said(range(6)), said(())
    one[:6] = np.random.default_rng(0).dirichlet([1, 1, 1], 6)
    runs.add("one", {"head": one})
    runs.add("other", {"head": other})
    assert main(runs.compare("one", "other")) == 0
    losses = cross_entropies(one, LABELS) + cross_entropies(other, LABELS)
    expected = [ids_of(LABELS)[at] for at in np.argsort(-losses) if one[at].argmax() != LABELS[at]]
    assert [row["id"] for row in runs.rows("one")] == expected != sorted(expected)


def test_images_are_matched_by_name_and_classes_by_theirs(runs, capsys):
    # The same model, whose images and classes stand in another order, on some of the images.
    model = np.random.default_rng(0).dirichlet([1, 1, 1], 40)
    runs.add("a", {"head": model}, keep=slice(0, 30))
    runs.add("b", {"head": model}, keep=slice(39, 9, -1), order=(2, 0, 1), data="/other")
    assert main(runs.compare("a", "b")) == 0
    printed = capsys.readouterr().out
    assert "20 images of the test split that all runs were evaluated on" in printed
    for name in ("a", "b"):
        assert f"10 of 30 images of {name} are left out" in printed
    assert "0 of 20 images are classed differently" in printed
    assert cells(printed, "a")[4:6] == cells(printed, "b")[4:6]
    right = (model.argmax(1) == LABELS)[10:30].mean()
    assert cells(printed, "a")[4].startswith(f"{right:.4f} (")
    assert "the data are called /other, /photos; images of one name are taken to be" in printed
    assert runs.rows("a") == []


def test_many_models_are_compared_with_the_first(runs, capsys):
    names = [f"run{number}" for number in range(7)]
    for name in names:
        runs.add(name, {"head": said({0})})
    assert main(runs.compare(*names)) == 0
    printed = capsys.readouterr().out
    assert "7 models are too many for all pairs; each is compared with the first" in printed
    assert printed.count("compare: between run0 and") == printed.count("compare: between") == 6


def test_runs_are_found_by_name_and_path_and_told_apart(runs, tmp_path, capsys):
    elsewhere = Runs(tmp_path / "elsewhere")
    for one, wrong in ((runs, {0}), (elsewhere, {1, 2})):
        one.add("a", {"head": said(wrong)})
    output = tmp_path / "new" / "out.csv"
    words = ["a", str(elsewhere.folder("a")), "--output", str(output)]
    assert main(runs.compare(*words)) == 0
    names = [str(one.folder("a")) for one in (runs, elsewhere)]
    with output.open(newline="") as file:
        assert next(csv.reader(file))[2::2] == names
    assert f"3 of 40 images are classed differently, in {output}" in capsys.readouterr().out


def test_what_was_learned_from_or_chosen_by_is_said(runs, capsys):
    runs.add("a", {"head": said({0}), "x": said({1})}, split="val")
    assert main(runs.compare("a", "--split", "val")) == 0
    assert "models may have learned from val images" in capsys.readouterr().out
    assert len(runs.rows("a", "compare-val.csv")) == 2


def test_no_run_no_evaluation_and_one_model_are_told(runs, capsys):
    assert "found no last one" in refused(capsys, *runs.compare())
    assert "received 'a'; there: none" in refused(capsys, *runs.compare("a"))
    runs.add("a", {"head": said({0})})
    runs.add("b", {"head": said({0})})
    assert "received 'c'; there: a, b\n" in refused(capsys, *runs.compare("a", "c"))
    assert "expected different runs, received a twice" in refused(capsys, *runs.compare("a", "a"))
    assert "received head of run a alone" in refused(capsys, *runs.compare("a"))
    error = refused(capsys, *runs.compare("a", "b", "--split", "train"))
    cure = f"transfer evaluate --run a --split train --artifacts {runs.artifacts}"
    assert f"run a has not been evaluated on the train split; run `{cure}`" in error
    error = refused(capsys, *runs.compare("a", "b", "--output", "x.txt"))
    assert "--output expects a .csv file, received x.txt" in error


def test_an_evaluation_of_what_the_run_was_is_refused(runs, capsys):
    runs.add("a", {"head": said({0})}, head_id="an older one")
    runs.add("b", {"head": said({0})})
    runs.tune("b")
    runs.add("c", {"head": said({0}), "finetuned": said({1})})
    (runs.folder("c") / FINETUNED).unlink()
    runs.add("d", {"head": said({0}), "finetuned": said({1})})
    runs.tune("d", "second tuning")
    for name, changed in (
        ("a", "with an older head than it has now"),
        ("b", "before it was fine-tuned"),
        ("c", "with a fine-tuned model that it no longer has"),
        ("d", "with a fine-tuned model that it no longer has"),
    ):
        error = refused(capsys, *runs.compare(name))
        assert f"run {name} was evaluated on the test split {changed}; run `transfer" in error


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (
            {"class_names": np.array(["cat", "dog", "pig"])},
            "received others: a alone has horse; b alone has pig",
        ),
        (
            {"labels": np.where(np.arange(40) == 7, 0, LABELS)},
            "two for 1 of 40: dog/07.jpg is of dog in run a, of cat in run b; compare runs of",
        ),
        (
            {"ids": np.array([f"elsewhere/{number}" for number in range(40)])},
            "found none in the test splits of a, b; compare runs of the same data",
        ),
    ],
)
def test_runs_that_have_nothing_in_common_are_refused(runs, capsys, changed, error):
    runs.add("a", {"head": said({0})})
    runs.add("b", {"head": said({0})}, **changed)
    assert error in refused(capsys, *runs.compare("a", "b"))
    assert not (runs.folder("a") / "compare-test.csv").exists()


def test_names_that_no_file_of_text_can_hold_are_escaped(runs):
    ids = ids_of(LABELS)
    ids[0] = "cat/caf\udce9.jpg"
    runs.add("a", {"head": said({0}), "x": said(())}, ids=ids)
    assert main(runs.compare("a")) == 0
    assert [row["id"] for row in runs.rows("a")] == [r"cat/caf\xe9.jpg"]


def test_what_evaluate_leaves_is_compared(trained, place, capsys):
    shutil.copy(trained / CLASSIFIER, place / "second.keras")
    words = ["--no-pictures", "--models", str(place / "second.keras")]
    assert main(["evaluate", *options(place, *words)]) == 0
    capsys.readouterr()
    assert main(["compare", "latest", "--artifacts", str(place / "artifacts")]) == 0
    printed = capsys.readouterr().out
    assert "between head and second there is no difference that" in printed
    scores = json.loads((trained / "evaluation-test.json").read_text())["models"]["head"]
    _, backbone, pixels, made, accuracy, loss, _ = cells(printed, "head")
    assert (backbone, pixels, made) == ("MobileNetV2 0.35, random", "32", "hidden 8 on 2 cuts")
    assert accuracy.startswith(f"{scores['accuracy']:.4f} (")
    assert loss.startswith(f"{scores['loss']:.4f} +- ")

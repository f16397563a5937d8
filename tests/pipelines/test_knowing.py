"""What a classifier says of images that it does not know, and why, as a user sees it."""

import csv
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from cache import FeatureFile
from pipelines.cli import main
from pipelines.features import split_of
from pipelines.knowing import knowledge_of, read_knowledge
from tests.pipelines.small_runs import options, photographs, refused
from transfer.images.sources import DataOptions


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """Photographs, a linear head that was chosen, and images of nothing that was learned."""
    folder = tmp_path_factory.mktemp("known")
    photographs(folder / "photos", count=40)
    assert main(["head", *options(folder)]) == 0
    strange = folder / "strange"
    strange.mkdir()
    Image.new("RGB", (24, 20), (250, 0, 0)).save(strange / "red.png")
    stripes = np.zeros((20, 24, 3), np.uint8)
    stripes[:, ::2, 2] = 255
    Image.fromarray(stripes).save(strange / "stripes.png")
    return folder


def predicted(place, images, *more, name="out.json"):
    words = ["--artifacts", str(place / "artifacts"), "--run", "run", "--images", *map(str, images)]
    assert main(["predict", *words, "--output", str(place / name), *more]) == 0
    return place / name


def rows_of(knowing, features):
    data = DataOptions(str(knowing / "photos"), val_fraction=0.25, test_fraction=0.25)
    return split_of(features, data)


def features_of(knowing):
    (path,) = (knowing / "artifacts" / "features").glob("*/features.h5")
    return FeatureFile(path)


def test_images_of_nothing_learned_are_unknown_and_others_are_not(knowing):
    with features_of(knowing) as features:
        test = features.ids[rows_of(knowing, features) == "test"]
        learned = set(features.ids) - set(test)
    images = [knowing / "photos" / id for id in test]
    said = json.loads(
        predicted(knowing, [*images, knowing / "strange"]).read_text(encoding="utf-8")
    )
    unknown = {entry["image"]: entry["unknown"] for entry in said}
    assert all(value for image, value in unknown.items() if "strange" in image)
    assert np.mean([unknown[str(image)] for image in images]) < 0.25
    for entry in said:
        assert entry["unknown"] == (entry["strangeness"] > 1)
        assert len(set(entry["nearest"])) == 3 and set(entry["nearest"]) <= learned


def test_a_training_image_is_nearest_to_itself_in_every_form(knowing, capsys):
    with features_of(knowing) as features:
        id = features.ids[rows_of(knowing, features) == "train"][0]
    image = knowing / "photos" / id
    out = predicted(knowing, [image, knowing / "strange" / "red.png"], name="out.csv")
    with out.open(encoding="utf-8", newline="") as file:
        known, red = sorted(csv.DictReader(file), key=lambda line: line["image"])
    assert (known["unknown"], red["unknown"]) == ("", "yes")
    assert known["nearest_1"] == id
    assert float(known["strangeness"]) <= 1 < float(red["strangeness"])
    capsys.readouterr()
    words = ["--artifacts", str(knowing / "artifacts"), "--run", "run", "--images", str(image)]
    assert main(["predict", *words, str(knowing / "strange" / "red.png")]) == 0
    table = capsys.readouterr().out
    assert f"yes, {float(red['strangeness']):.2f}" in table and f"{id}, " in table


def test_the_threshold_is_set_by_images_that_were_not_seen(knowing):
    """By hand, from the features in the store and what was said out of fold."""
    run = knowing / "artifacts" / "runs" / "run"
    known = read_knowledge(run / "classifier.keras")
    cut = json.loads((run / "head.json").read_text(encoding="utf-8"))["cuts"][-1]
    with features_of(knowing) as features, np.load(run / "oof.npz") as unseen:
        assert known.judges == len(unseen["ids"]) == np.sum(rows_of(knowing, features) != "test")
        where = {id: row for row, id in enumerate(features.ids)}
        judges = np.array([where[id] for id in unseen["ids"]])
        learned = np.flatnonzero(rows_of(knowing, features) != "test")
        said = unseen["probabilities"]
        again = knowledge_of(features, cut, learned, judges, said)
        _, stored = np.unique(judges, return_inverse=True)
        stored = features.read(np.sort(judges), (cut,))[stored]
    assert again.threshold == pytest.approx(known.threshold, rel=1e-3)
    assert again.ids.tolist() == known.ids.tolist() == features.ids[learned].tolist()
    # Each of them looks at an index that holds it: no new image could be as near.
    assert known.judge(said, stored).unknown.mean() <= 0.05


def test_a_classifier_of_earlier_predicts_without_and_says_so_once(knowing, tmp_path, capsys):
    old = tmp_path / "classifier.keras"
    with (
        zipfile.ZipFile(knowing / "artifacts" / "runs" / "run" / "classifier.keras") as now,
        zipfile.ZipFile(old, "w") as then,
    ):
        for name in now.namelist():
            if name != "knowledge.npz":
                then.writestr(name, now.read(name))
    capsys.readouterr()
    images = [knowing / "strange", knowing / "photos" / "cat" / "000.png"]
    out = predicted(knowing, images, "--model", str(old))
    assert capsys.readouterr().out.count("does not say what it knows") == 1
    said = json.loads(out.read_text(encoding="utf-8"))
    assert {"unknown", "strangeness", "nearest"} & set(said[0]) == set()
    new = json.loads(predicted(knowing, images).read_text(encoding="utf-8"))
    ours, theirs = ([entry["top"] for entry in entries] for entries in (new, said))
    assert ours == theirs


def test_explanations_are_pictures_one_an_image(knowing, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    images = [knowing / "strange", tmp_path / "text.png", knowing / "photos" / "cat" / "001.png"]
    folder = tmp_path / "why"
    predicted(knowing, images, "--explain", str(folder), "--bad-images", "skip")
    pictures = sorted(folder.iterdir())
    assert len(pictures) == 3
    assert {path.stem.split("-", 1)[1] for path in pictures} == {"red", "stripes", "001"}
    widths = set()
    for path in pictures:
        with Image.open(path) as picture:
            widths.add(picture.width)
            assert np.asarray(picture.convert("RGB")).std() > 10
    said = capsys.readouterr()
    assert "3 pictures, in" in said.out
    assert "draws no heat" not in said.err
    # Without the data the nearest are named: two panels in place of five.
    shutil.copytree(knowing / "artifacts", tmp_path / "artifacts", symlinks=True)
    alone = tmp_path / "artifacts" / "runs" / "run" / "classifier.keras"
    predicted(knowing, images[2:], "--explain", str(tmp_path / "few"), "--model", str(alone))
    (few,) = (tmp_path / "few").iterdir()
    with Image.open(few) as picture:
        assert {picture.width * 5} == {width * 2 for width in widths}


def test_a_head_with_hidden_layers_knows_and_says_why_it_draws_no_heat(trained, tmp_path, capsys):
    photographs(tmp_path, classes=("cat",), count=2)
    words = ["--model", str(trained / "classifier.keras"), "--images", str(tmp_path / "cat")]
    output = ["--output", str(tmp_path / "out.json"), "--explain", str(tmp_path / "why")]
    capsys.readouterr()
    assert main(["predict", *words, *output]) == 0
    assert capsys.readouterr().err.count("draws no heat: heat maps are for linear heads") == 1
    assert len(list((tmp_path / "why").iterdir())) == 2
    said = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [len(entry["nearest"]) for entry in said] == [3, 3]
    known = read_knowledge(trained / "classifier.keras")
    assert known.judges == 12  # the validation images


def test_explain_expects_a_folder(knowing, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    words = ["--artifacts", str(knowing / "artifacts"), "--run", "run"]
    words += ["--images", str(knowing / "strange"), "--explain", str(tmp_path / "file")]
    assert "--explain expects a folder" in refused(capsys, "predict", *words)

"""Sets of few images, from one command to the next: classes of one image, clips kept together."""

import json
import shutil

import pytest

from cache import FeatureFile
from pipelines.cli import main
from pipelines.features import split_of
from tests.pipelines.small_runs import options, photographs, refused
from transfer.images.sources import DataOptions

SINGLE = [f"single {number:02}" for number in range(40)]
PICTURES = ("transfer.pictures.curves.plot_history",)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photographs of two large classes and of forty with one image each."""
    folder = tmp_path_factory.mktemp("small")
    photographs(folder / "photos")
    photographs(folder / "photos", SINGLE, count=1)
    return folder


@pytest.fixture(scope="module")
def pets(trained_once, tmp_path_factory):
    """A copy of cats and dogs with their features."""
    copy = shutil.copytree(trained_once, tmp_path_factory.mktemp("pets") / "copy")
    shutil.rmtree(copy / "artifacts" / "runs")  # they are of photographs elsewhere
    return copy


@pytest.fixture
def quick(monkeypatch):
    """Leaves out pictures, of which other tests are."""
    for name in PICTURES:
        monkeypatch.setattr(name, lambda *args, **kwargs: None)


def said_of_classes(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "cannot be judged" in line]


def split_in(place, **more):
    """The split of each image by its id."""
    data = DataOptions(str(place / "photos"), val_fraction=0.25, test_fraction=0.25, **more)
    (path,) = (place / "artifacts" / "features").glob("*/features.h5")
    with FeatureFile(path) as features:
        return dict(zip(features.ids, split_of(features, data), strict=True))


def test_forty_classes_of_one_image_go_all_the_way(place, capsys, quick):
    few = "(single 00, single 01, single 02, ...)"
    no_val, no_test = (f"40 have no {kind} image {few}" for kind in ("validation", "test"))
    for _ in ("made", "cached"):
        assert main(["features", *options(place)]) == 0
        assert said_of_classes(capsys) == [
            f"features: of 42 classes {no_val} and {no_test} and cannot be judged"
        ]
    split = split_in(place)
    assert [split[f"{name}/000.png"] for name in SINGLE] == ["train"] * 40
    for name in ("cat", "dog"):
        sides = [side for id, side in split.items() if id.startswith(name)]
        assert {side: sides.count(side) for side in ("val", "test")} == {"val": 6, "test": 6}

    assert main(["head", *options(place, "--epochs", "2")]) == 0
    assert said_of_classes(capsys) == [f"head: of 42 classes {no_val} and cannot be judged"]
    assert main(["evaluate", *options(place, "--no-pictures")]) == 0
    assert said_of_classes(capsys) == [f"evaluate: of 42 classes {no_test} and cannot be judged"]
    scores = json.loads((place / "artifacts/runs/run/evaluation-test.json").read_text())
    supports = [one["support"] for one in scores["models"]["head"]["per_class"]]
    assert supports == [6, 6, *[0] * 40]


def test_a_sweep_folds_classes_of_one_image(place, capsys, quick, monkeypatch):
    for name in ("plot_rungs", "plot_history"):
        monkeypatch.setattr(f"transfer.pictures.curves.{name}", lambda *args, **kwargs: None)
    grid = ["--grid", "l2=0.001,0.1", "--epochs", "2", "--rungs"]
    words = options(place, "--run", "swept", *grid, "--folds", "3")
    assert main(["sweep", *words]) == 0
    (said,) = said_of_classes(capsys)
    assert said.startswith("sweep: of 42 classes 40 have no validation image")
    assert len(json.loads((place / "artifacts/runs/swept/sweep.json").read_text())["heads"]) == 2


def test_nothing_is_said_where_each_class_has_some(pets, capsys):
    assert main(["features", *options(pets)]) == 0
    assert main(["features", *options(pets, "--test-fraction", "0")]) == 0
    assert not said_of_classes(capsys)


def test_no_image_for_validation_is_one_clear_line(tmp_path, capsys):
    photographs(tmp_path / "photos", SINGLE[:3], count=1)
    said = refused(capsys, "features", *options(tmp_path))
    assert "received none of 3 at val_fraction 0.25: raise it" in said
    assert len(said.strip().splitlines()) == 1


# ---- groups

CLIPS = r"/\d(\d\d)\.png"
"""Of `cat/017.png` 17; dogs 17 are of the same clip."""


def clips_listed(folder, ids, size):
    """A file that puts so many neighbours into one clip."""
    path = folder / f"clips of {size}.csv"
    lines = [f"{id},{int(id[-7:-4]) // size}" for id in sorted(ids)]
    path.write_text("\n".join(["image,clip", *lines]) + "\n")
    return str(path)


def test_clips_are_on_one_side_and_a_head_remembers_them(pets, capsys, tmp_path, quick):
    place, same = pets, split_in(pets)
    clips = clips_listed(tmp_path, same, 3)
    for group, clip in ((CLIPS, lambda id: id[-7:-4]), (clips, lambda id: int(id[-7:-4]) // 3)):
        split = split_in(place, group=group)
        sides = {}
        for id, side in split.items():
            sides.setdefault(clip(id), set()).add(side)
        assert all(len(one) == 1 for one in sides.values())
        for side in ("val", "test"):
            assert list(split.values()).count(side) == 12

    run = ["--run", "clips", "--epochs", "2", "--group", clips]
    assert main(["head", *options(place, *run)]) == 0
    assert len(list((place / "artifacts" / "features").iterdir())) == 1  # the key knows no groups
    again = ["--run", "clips", "--no-pictures", "--group"]
    moved = tmp_path / "moved.csv"
    moved.write_bytes((tmp_path / "clips of 3.csv").read_bytes())
    assert main(["evaluate", *options(place, *again, str(moved))]) == 0
    said = refused(capsys, "evaluate", *options(place, *again, clips_listed(tmp_path, same, 4)))
    assert said.count("--group a .csv file of sha256") == 2
    assert main(["evaluate", *options(place, *again[:-1])]) == 0  # the run remembers them


def test_a_recipe_has_groups(pets, tmp_path, capsys):
    recipe = tmp_path / "clips.toml"
    recipe.write_text(f"[data]\ngroup = '{CLIPS}x'\n")
    said = refused(capsys, "features", *options(pets, "--recipe", str(recipe)))
    assert "48 of 48 without it" in said


MISTAKES = {
    "no match": ("clip", "'clip' in the id of each image, received 48 of 48 without it"),
    "no expression": ("(clip", "expects a regular expression"),
    "no file": ("/nowhere.csv", "expects an existing .csv file"),
    "one group": ("png", "received none of 48 in 1 groups"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_about_groups_is_one_clear_line(mistake, pets, capsys):
    group, words = MISTAKES[mistake]
    for stage in ("features", "head", "sweep"):
        said = refused(capsys, stage, *options(pets, "--group", group))
        assert words in said
        assert len(said.strip().splitlines()) == 1


def test_folds_of_a_sweep_keep_clips_together(pets, monkeypatch):
    seen = []

    def watch(setup, features, cuts, rows):
        seen.append([features.ids[one] for one in rows])
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.sweeping.halving.read_training_data", watch)
    words = ["--run", "folds", "--folds", "4", "--no-linear", "--group", CLIPS]
    assert main(["sweep", *options(pets, *words, "--grid", "l2=0")]) == 130
    ((train, val),) = seen
    assert len(val) and not {id[-7:] for id in train} & {id[-7:] for id in val}

"""Runs: what they remember, who goes on with them, and what may replace them."""

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.cli import main, parse
from pipelines.features import FeaturesStage
from pipelines.head import HeadStage
from pipelines.runs import GO_ON, check_replaced, latest, remember
from pipelines.setup import Setup
from tests.pipelines.small_runs import SMALL, refused
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.heads.options import FitOptions, HeadOptions
from transfer.images.sources import DataOptions

DOGS = "dogs-vs-horses-inceptionv3-mixed7"
NETWORK = BackboneOptions("EfficientNetLite0", image_size=96, cut=("block5c_add", "top"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A reader's folder, with photographs that nobody looks at."""
    for name in ("photos", "others", "elsewhere/photos"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(here):
    """The setup of `transfer features --data photos ...`, which has just run."""
    setup = Setup(DataOptions("photos", val_fraction=0.2), NETWORK, storage="float16")
    remember(FeaturesStage(setup), "features")
    return setup


def tables_of(setup):
    return tomllib.loads((setup.run_folder / "run.toml").read_text())


# ---- what is written


def test_a_run_is_written_down_as_a_recipe_that_comes_back(photos, here):
    tables = tables_of(photos)
    assert list(tables) == ["data", "backbone"]
    assert tables["data"] == {
        "data": str(here / "photos"),
        "val_fraction": 0.2,
        "test_fraction": 0.1,
        "bad_images": "stop",
        "split_seed": 0,
        "window": "full",
        "page": 1,
    }
    assert tables["backbone"]["cut"] == ["block5c_add", "top"]
    assert tables["backbone"]["storage"] == "float16"  # what is not the default, too
    assert "precision" not in tables["backbone"]
    path = photos.run_folder / "run.toml"
    read = parse("head", ["--recipe", str(path)]).setup
    wanted = photos.with_absolute_paths()
    assert (read.data, read.backbone, read.storage) == (wanted.data, wanted.backbone, "float16")
    assert all(len(line) <= 100 for line in path.read_text().splitlines()[:3])


def test_all_options_of_a_head_come_back(photos):
    stage = HeadStage(
        photos,
        HeadOptions((64, 32), dropout=0.25, l2=0.001),
        FitOptions(epochs=3, learning_rate=0.5, seed=7),
        use_cuts=("top",),
        refit=True,
    )
    remember(stage, "head")
    read = parse("head", [])
    assert (read.head, read.fit, read.use_cuts, read.refit) == (
        stage.head,
        stage.fit,
        ("top",),
        True,
    )
    assert parse("head", ["--no-refit", "--dropout", "0"]).head == replace(stage.head, dropout=0.0)


def test_a_recipe_s_other_stages_come_along_for_its_backbone_alone(here):
    setup = replace(parse("features", ["--recipe", DOGS]).setup, data=DataOptions("photos"))
    remember(FeaturesStage(setup), "features")
    assert parse("finetune", []).unfreeze == "mixed6"
    assert parse("head", []).head.hidden == (1024,)
    assert parse("evaluate", []).split == "val"
    remember(HeadStage(setup, HeadOptions((8,))), "head")
    assert parse("head", []).head.hidden == (8,)
    assert parse("finetune", []).unfreeze == "mixed6"
    assert "expected" not in tables_of(setup)
    remember(FeaturesStage(replace(setup, backbone=NETWORK)), "features")
    assert list(tables_of(setup)) == ["data", "backbone"]


def test_nothing_is_written_where_nothing_changed(photos):
    before = (photos.run_folder / "run.toml").stat()
    remember(FeaturesStage(photos), "features")
    assert (photos.run_folder / "run.toml").stat() == before


# ---- who goes on


@pytest.mark.parametrize("stage", GO_ON)
def test_later_stages_go_on_with_the_last_run_and_say_so(stage, photos, here, capsys):
    setup = parse(stage, []).setup
    assert setup.run_folder == photos.run_folder
    assert (setup.data.data, setup.backbone) == (str(here / "photos"), NETWORK)
    assert setup.storage == "float16"
    name = photos.run_folder.name
    assert capsys.readouterr().out == (
        f"{stage}: goes on with run {name}: data {here / 'photos'}, backbone EfficientNetLite0\n"
    )


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [
        (["--data", "photos"], True),
        (["--data", "./others/../photos", "--backbone", "efficientnet-lite0"], True),
        (["--backbone=EfficientNetLite0", "--image-size", "160"], True),
        (["--data", "others"], False),
        (["--data", "elsewhere/photos"], False),
        (["--data", "photos", "--backbone", "VGG16"], False),
        (["--backbone", "VGG16"], False),
        (["--data", "photos", "--run", "new"], False),
        (["--recipe", "demo"], False),
    ],
)
def test_flags_that_agree_go_on_and_others_begin_anew(words, goes_on, photos, capsys):
    setup = parse("head", words).setup
    assert (setup.data.val_fraction == 0.2) == goes_on
    assert (setup.run_folder == photos.run_folder) == goes_on
    assert (setup.storage == "float16") == goes_on
    assert ("goes on with run" in capsys.readouterr().out) == goes_on
    if "--image-size" in words:
        assert setup.backbone == replace(NETWORK, image_size=160)


@pytest.mark.parametrize("stage", ["features", "all"])
def test_first_stages_go_on_with_a_run_only_if_it_is_named(stage, photos, capsys):
    assert parse(stage, []).setup == Setup()
    assert not capsys.readouterr().out
    named = parse(stage, ["--run", photos.run_folder.name, "--val-fraction", "0.3"]).setup
    assert (named.backbone, named.data.val_fraction) == (NETWORK, 0.3)
    assert f"{stage}: goes on with run" in capsys.readouterr().out


def test_a_recipe_goes_before_a_run_and_its_results_into_the_run(photos):
    name = photos.run_folder.name
    setup = parse("head", ["--run", name, "--recipe", "demo"]).setup
    assert setup.data.data == "digits"
    assert setup.run_folder == photos.run_folder
    assert parse("head", ["--recipe", "demo"]).setup.run_folder.name == "demo"


def test_the_run_that_was_written_last_is_the_last(photos, here):
    other = Setup(DataOptions("others"), NETWORK)
    remember(FeaturesStage(other), "features")
    assert parse("head", []).setup.run_folder == other.run_folder
    assert parse("head", ["--run", photos.run_folder.name]).setup.storage == "float16"
    remember(HeadStage(photos), "head")
    assert parse("head", []).setup.run_folder == photos.run_folder


def test_runs_are_looked_for_among_the_artifacts_that_are_named(photos, here):
    moved = here / "moved"
    shutil.move(here / "artifacts", moved)
    assert parse("head", []).setup == Setup()
    assert parse("head", [f"--artifacts={moved}"]).setup.backbone == NETWORK
    named = parse("head", ["--artifacts", "moved", "--run", photos.run_folder.name]).setup
    assert named.backbone == NETWORK and named.artifacts == Path("moved")


def test_a_model_that_is_named_needs_no_run(photos, capsys):
    assert parse("predict", ["--model", "x.keras", "--images", "y.jpg"]).setup == Setup()
    assert not capsys.readouterr().out


def test_help_shows_the_options_of_the_run_and_says_nothing_else(photos, capsys):
    with pytest.raises(SystemExit):
        parse("head", ["--help"])
    said = capsys.readouterr().out
    assert "EfficientNetLite0" in said and "goes on" not in said


# ---- the last run


def test_where_there_are_no_links_a_file_says_which_run_was_last(here, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    setup = Setup(DataOptions("photos"), NETWORK)
    remember(FeaturesStage(setup), "features")
    assert (setup.runs / "latest").is_file() and not (setup.runs / "latest").is_symlink()
    assert parse("head", []).setup.run_folder == setup.run_folder
    monkeypatch.undo()
    monkeypatch.chdir(here)
    remember(FeaturesStage(replace(setup, run="another")), "features")
    assert (setup.runs / "latest").is_symlink()
    assert parse("head", []).setup.run_folder.name == "another"
    assert {path.name for path in setup.runs.iterdir()} == {
        *(setup.run_folder.name, "another", "latest")
    }


def test_a_last_run_that_is_gone_is_none(photos):
    shutil.rmtree(photos.run_folder)
    assert latest(photos.runs) is None
    assert parse("head", []).setup == Setup()


def test_a_copy_that_followed_the_link_is_no_obstacle(photos, here):
    other = replace(photos, data=DataOptions("others"))
    remember(FeaturesStage(other), "features")
    shutil.copytree(here / "artifacts", here / "copied")  # without symlinks=True
    copied = replace(photos, artifacts=here / "copied")
    assert not (copied.runs / "latest").is_symlink()
    assert latest(copied.runs) == other.run_folder.name
    remember(FeaturesStage(copied), "features")
    assert (copied.runs / "latest").is_symlink()
    assert latest(copied.runs) == photos.run_folder.name
    (kept,) = copied.runs.glob("latest-copied-*")
    assert (kept / "run.toml").exists()
    (copied.runs / "latest").unlink()
    (copied.runs / "latest").mkdir()
    assert latest(copied.runs) is None


# ---- replacing


def test_a_run_from_other_data_is_replaced_only_if_that_is_asked_for(photos, here, capsys):
    name = photos.run_folder.name
    for stage in ("features", "head", "rates", "sweep", "all"):
        said = refused(capsys, stage, "--run", name, "--data", "elsewhere/photos")
        assert f"made from, {here / 'photos'}, received {here / 'elsewhere' / 'photos'}" in said
        assert "--replace" in said and len(said.splitlines()) == 1
    said = refused(capsys, "features", "--run", name, "--data", "elsewhere/photos", "--replace")
    assert "holds no images" in said  # it went ahead, and looked


def test_the_same_data_under_another_name_are_no_other_data(photos, here):
    named = replace(photos, run=photos.run_folder.name)
    for path in ("./photos", str(here / "photos"), "elsewhere/../photos/"):
        check_replaced(replace(named, data=DataOptions(path)))
    with pytest.raises(InputError, match="--replace"):
        check_replaced(replace(named, data=DataOptions("digits")))
    check_replaced(replace(named, data=DataOptions("digits"), replace=True))
    check_replaced(replace(named, data=DataOptions("digits"), run="new"))


# ---- as a user types it


def test_after_features_and_head_no_stage_needs_an_option(trained, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for stage, *words in (
        ["rates", "--number", "3"],
        ["finetune", "--unfreeze", "1", "--epochs", "1"],
        ["evaluate", "--no-pictures"],
        ["predict", "--images", "photos/cat/000.png"],
    ):
        assert main([stage, *words]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{stage}: goes on with run run: data {place / 'photos'}, ")
        assert "made in" not in said
    assert {path.name for path in (place / "artifacts" / "runs").iterdir()} == {"run", "latest"}
    assert (trained / "rates.json").exists()


def test_features_begin_a_run_that_heads_go_on_with(trained, place, tmp_path, monkeypatch, capsys):
    """Features that are there already, so that the backbone need not run."""
    shutil.copytree(place / "artifacts" / "features", tmp_path / "artifacts" / "features")
    monkeypatch.chdir(tmp_path)
    assert main(["features", "--data", str(place / "photos"), *SMALL]) == 0
    assert main(["head", "--epochs", "1", "--val-fraction", "0.3"]) == 0
    assert "made in" not in capsys.readouterr().out
    (run,) = (tmp_path / "artifacts" / "runs").glob("photos-mobilenetv2-????")
    assert (run / "classifier.keras").exists()
    assert tomllib.loads((run / "run.toml").read_text())["head"]["epochs"] == 1
    assert main(["evaluate", "--no-pictures"]) == 0  # with the head's shares of rows

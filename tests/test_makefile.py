"""The Makefile: which recipe a command takes where it names none."""

import os
import re
import shlex
import subprocess

import pytest

from tests.places import PROJECT

DEFAULT = "--recipe cifar10-mobilenetv2"
LATER = ("head", "rates", "sweep", "finetune", "evaluate", "predict", "serve", "audit", "report")


def commands(*words, place):
    """What make would run, with single spaces between words, quoted only where that is needed."""
    make = ["make", f"--makefile={PROJECT / 'Makefile'}", "--dry-run", "--old-file=setup"]
    done = subprocess.run(
        [*make, "VENV=.venv", *words],
        cwd=place,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^\.venv/bin/transfer (.*)$", done.stdout, re.MULTILINE)
    return [shlex.join(shlex.split(line)) for line in lines]


@pytest.fixture
def with_a_run(tmp_path):
    (tmp_path / "artifacts" / "runs" / "one").mkdir(parents=True)
    (tmp_path / "artifacts" / "runs" / "latest").symlink_to("one")
    return tmp_path


def test_where_nothing_is_said_there_is_a_recipe(tmp_path):
    stages = ("features", *LATER)
    assert commands(*stages, place=tmp_path) == [f"{stage} {DEFAULT}" for stage in stages]


def test_the_last_run_takes_its_place_but_for_features(with_a_run):
    assert commands("features", place=with_a_run) == [f"features {DEFAULT}"]
    assert commands(*LATER, place=with_a_run) == list(LATER)


@pytest.mark.parametrize(
    ("word", "flags"),
    [
        ("DATA=photos", "--data photos"),
        ("BACKBONE=VGG16", "--backbone VGG16"),
        ("RUN=one", "--run one"),
        ("RECIPE=mine.toml", "--recipe mine.toml"),
        ("ARGS=--data photos", "--data photos"),
        ("ARGS=--run=one", "--run=one"),
    ],
)
def test_where_data_backbone_run_or_recipe_are_said_there_is_no_other(word, flags, tmp_path):
    for stage in ("features", *LATER):
        assert commands(stage, word, place=tmp_path) == [f"{stage} {flags}"]


def test_both_recipe_and_data_are_handed_on(tmp_path):
    words = ["RECIPE=dogs-vs-horses-inceptionv3-mixed7", "DATA=photos"]
    flags = "--recipe dogs-vs-horses-inceptionv3-mixed7 --data photos"
    assert commands("features", *words, place=tmp_path) == [f"features {flags}"]


def test_other_flags_say_nothing_of_the_data(tmp_path):
    assert commands("sweep", "ARGS=--rungs 2", place=tmp_path) == [f"sweep {DEFAULT} --rungs 2"]
    # Where results lie elsewhere, so may the last run.
    elsewhere = commands("head", "ARGS=--artifacts there", place=tmp_path)
    assert elsewhere == ["head --artifacts there"]


@pytest.mark.parametrize("name", ["my photos", "Ann's (best) photos", 'a "b"; c', "[x]*?"])
def test_a_path_is_one_word(name, tmp_path):
    words = [f"DATA={name}", f"WEIGHTS={name}.h5", f"RUN={name}", "CUT=blocks top"]
    (said,) = commands("features", *words, place=tmp_path)
    expected = ["features", "--data", name, "--weights", f"{name}.h5"]
    assert shlex.split(said) == [*expected, "--cut", "blocks", "top", "--run", name]
    (said,) = commands("doctor", f"DATA={name}", place=tmp_path)
    assert shlex.split(said) == ["doctor", "--data", name]


def test_images_are_as_many_words_as_the_shell_makes_of_them(tmp_path):
    (said,) = commands("predict", "RUN=r", "IMAGES='my photos/a.jpg' b.jpg", place=tmp_path)
    assert shlex.split(said) == ["predict", "--run", "r", "--images", "my photos/a.jpg", "b.jpg"]


def test_runs_to_compare_are_as_many_words_as_the_shell_makes_of_them(tmp_path):
    (said,) = commands("compare", "RUNS='my run' other", "ARGS=--split val", place=tmp_path)
    assert shlex.split(said) == ["compare", "my run", "other", "--split", "val"]

"""`~` at the beginning of a path, in every option that takes one."""

from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from pipelines.cli import parse
from pipelines.home import at_home
from pipelines.stages import STAGES, module_of


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", ["~nobody-is-called-so/x", "a~b", "x/~/y", "~x.jpg", ""])
def test_other_paths_stay(path):
    assert at_home(path) == path


def test_home_is_found(home):
    assert (at_home("~"), at_home("~/a b")) == (str(home), f"{home}/a b")


def options_that_are_paths(stage):
    """Flags of a stage whose type is a path or several."""
    found = []
    for option in fields(stage):
        value = getattr(stage, option.name)
        if is_dataclass(value):
            found += options_that_are_paths(value)
        elif "Path" in str(option.type):
            found.append(option.name)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_option_of_a_stage_begins_at_home(stage, home):
    kind = getattr(import_module(module_of(stage)), STAGES[stage][0])
    for name in options_that_are_paths(kind()):
        flag = (
            [] if name == "models" and stage == "bench-model" else [f"--{name.replace('_', '-')}"]
        )
        parsed = parse(stage, [*flag, "~/there"])
        while not hasattr(parsed, name):
            parsed = parsed.setup
        value = getattr(parsed, name)
        assert value in (Path(home, "there"), (Path(home, "there"),)), name


def test_words_that_are_paths_begin_at_home_and_others_do_not(home):
    words = ["--data=~/photos", "--weights=~/w.h5", "--group=~/g.csv", "--images=~/*.jpg"]
    parsed = parse("predict", [*words, "--run=~"])
    assert parsed.images == (f"{home}/*.jpg",)
    assert parsed.setup.data.data == f"{home}/photos"
    assert parse("compare", ["a", "~/b"]).runs == ("a", f"{home}/b")
    assert parsed.setup.data.group == f"{home}/g.csv"
    assert parsed.setup.backbone.weights == f"{home}/w.h5"
    assert parsed.setup.run == "~"


def test_recipes_and_runs_are_found_at_home_and_what_they_name(home):
    (home / "mine.toml").write_text("[data]\ndata = '~/photos'\n", encoding="utf-8")
    for word in ("--recipe=~/mine.toml", f"--recipe={home}/mine.toml"):
        assert parse("features", [word]).setup.data.data == f"{home}/photos"
    run = home / "art" / "runs" / "one"
    run.mkdir(parents=True)
    (run / "run.toml").write_text("[data]\ndata = '~/others'\n", encoding="utf-8")
    parsed = parse("head", ["--artifacts=~/art", "--run", "one"])
    assert parsed.setup.data.data == f"{home}/others"
    assert not list(home.glob("~*"))

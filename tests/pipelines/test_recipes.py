"""Recipes: every one fills every stage; wrong ones are refused in one line."""

import dataclasses
import datetime
import importlib
import pathlib

import pytest

from pipelines.recipes import fill, load_recipe, names
from pipelines.stages import STAGES, module_of
from transfer.errors import InputError

REQUIRED = {
    "cifar10-inceptionresnetv2",
    "cifar10-inceptionv3",
    "dogs-vs-horses-inceptionv3-mixed7",
    "cifar10-mobilenetv2",
    "demo",
}

WITHOUT_RECIPE = ("compare", "structure", "backbones", "cache", "doctor", "bench-model")
"""Stages that take no recipe."""


def stage_of(name):
    return getattr(importlib.import_module(module_of(name)), STAGES[name][0])()


def test_all_recipes_are_there():
    assert set(names()) == REQUIRED


@pytest.mark.parametrize("recipe", sorted(REQUIRED))
@pytest.mark.parametrize("stage", [name for name in STAGES if name not in WITHOUT_RECIPE])
def test_every_recipe_fills_every_stage(recipe, stage):
    tables = load_recipe(recipe)
    assert set(tables) <= {"data", "backbone", "expected", *STAGES}
    filled = fill(stage_of(stage), tables, stage)
    assert filled.setup.data.data == tables["data"]["data"]
    assert filled.setup.backbone.backbone == tables["backbone"]["backbone"]


@pytest.mark.parametrize("recipe", sorted(REQUIRED))
def test_every_recipe_says_what_it_reaches(recipe):
    expected = load_recipe(recipe)["expected"]
    assert set(expected) <= {"reach", "measured", "not_measured"}
    assert 0.5 < expected["reach"]["accuracy"] < 1 and expected["reach"]["source"]
    measured = expected.get("measured", [])
    assert measured or "because" in expected["not_measured"]
    for one in measured:
        assert set(one) <= {"stages", "split", "head", "finetuned", "on", "files", "options"}
        assert one["stages"] in ("all", "head") and one["split"] in ("val", "test")
        assert 0.5 < one["head"] < 1
        assert datetime.date(2026, 11, 22) <= one["on"] <= datetime.date.today()
        options = fill(stage_of("head"), {"backbone": one.get("options", {})}, "head")
        assert dataclasses.is_dataclass(options)


def test_nested_options_are_found_and_lists_become_tuples():
    tables = {"head": {"hidden": [64, 32], "learning-rate": 0.5, "use_cuts": ["mixed7"]}}
    filled = fill(stage_of("head"), tables, "head")
    assert filled.head.hidden == (64, 32)
    assert filled.fit.learning_rate == 0.5
    assert filled.use_cuts == ("mixed7",)
    assert fill(stage_of("finetune"), tables, "finetune") == stage_of("finetune")


def test_an_unknown_option_lists_likely_ones():
    with pytest.raises(InputError, match=r"'hiden'.*hidden"):
        fill(stage_of("head"), {"head": {"hiden": [1]}}, "head")


def test_every_flag_of_a_stage_means_one_thing():
    # Flags carry no prefix, so a name may occur only once among a stage's nested options.
    def options(value):
        for field in dataclasses.fields(value):
            current = getattr(value, field.name)
            yield from options(current) if dataclasses.is_dataclass(current) else [field.name]

    for stage in STAGES:
        flags = list(options(stage_of(stage)))
        assert len(flags) == len(set(flags))


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[data]\ndata = 'photos'\n")
    assert load_recipe(str(path)) == {"data": {"data": "photos"}}
    path.write_text("[data\n")
    with pytest.raises(InputError, match="no valid TOML"):
        load_recipe(str(path))
    with pytest.raises(InputError, match=r"demo.*'nope'"):
        load_recipe("nope")


@pytest.mark.parametrize(
    "text", ["[setup.data]\ndata = 'photos'\n", "data = 'photos'\n", "[haed]\nepochs = 3\n"]
)
def test_what_no_stage_reads_is_refused(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="expected tables among data, backbone, expected, f"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("table", "option", "value", "complaint"),
    [
        ("backbone", "image_size", "abc", "str"),
        ("backbone", "backbone", 3, "int is not an instance of str"),
        ("backbone", "cut", [1], "item 0"),
        ("head", "hidden", 512, "int is not a list"),
        ("head", "schedule", "cosinus", "'cosine'"),
        ("head", "epochs", True, "received true"),
        ("head", "epochs", 2.5, "float"),
        ("head", "batch_norm", "no", "bool"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_one_line(table, option, value, complaint):
    with pytest.raises(InputError) as refused:
        fill(stage_of("head"), {table: {option: value}}, "head")
    said = str(refused.value)
    assert f"[{table}] has {option} = {value!r}" in said and complaint in said
    assert "\n" not in said


def test_whole_numbers_become_floats_and_paths_paths():
    tables = {"data": {"val_fraction": 0}, "backbone": {"alpha": 1, "image_size": 96}}
    filled = fill(stage_of("head"), {**tables, "head": {"artifacts": "results"}}, "head")
    assert repr(filled.setup.data.val_fraction) == "0.0"
    assert repr(filled.setup.backbone.alpha) == "1.0"
    assert repr(filled.setup.backbone.image_size) == "96"
    assert filled.setup.artifacts == pathlib.Path("results")

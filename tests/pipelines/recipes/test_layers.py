"""Layers that a recipe names: refused for another backbone, by name, before any work."""

import pytest

from pipelines.cli import parse
from pipelines.recipes import load_recipe
from pipelines.recipes.layers import check_layers
from tests.pipelines.small_runs import refused
from transfer.errors import InputError

DOGS = "dogs-vs-horses-inceptionv3-mixed7"
LITE = ["--backbone", "EfficientNetLite0"]


def check(tables, stage="head", given=()):
    check_layers({"backbone": {"backbone": "VGG16"}, **tables}, "recipe x", stage, "VGG19", given)


@pytest.mark.parametrize(
    ("stage", "words", "said"),
    [
        ("features", [], "[backbone] cut names the layer 'mixed7' of InceptionV3"),
        ("finetune", ["--cut", "top"], "[finetune] unfreeze names the layer 'mixed6'"),
        ("all", ["--cut", "top"], "[finetune] unfreeze names the layer 'mixed6'"),
    ],
)
def test_a_recipe_of_ours_is_refused_for_another_backbone(stage, words, said, capsys, tmp_path):
    data = ["--data", "digits", "--artifacts", str(tmp_path / "none")]
    line = refused(capsys, stage, "--recipe", DOGS, *LITE, *data, *words)
    assert f"recipe {DOGS}: {said}" in line
    assert "received backbone EfficientNetLite0" in line
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_flags_and_the_backbone_of_the_recipe_are_taken():
    assert parse("features", ["--recipe", DOGS, *LITE, "--cut", "top"]).setup.backbone.cut == (
        "top",
    )
    tuned = ["--cut", "top", "--unfreeze", "20"]
    assert parse("finetune", ["--recipe", DOGS, *LITE, *tuned]).unfreeze == "20"
    same = parse("finetune", ["--recipe", DOGS, "--backbone", "inception-v3"])
    assert same.unfreeze == "mixed6"
    # A stage is not kept from work by what another one would do.
    assert parse("head", ["--recipe", "demo", *["--backbone", "VGG16"], "--cut", "top"])


@pytest.mark.parametrize(
    ("stage", "table"),
    [
        ("head", {"backbone": {"cut": ["top", "block5_pool"], "backbone": "VGG16"}}),
        ("head", {"head": {"use-cuts": ["block5_pool"]}}),
        ("finetune", {"finetune": {"unfreeze": "block5_pool"}}),
        ("sweep", {"sweep": {"grid": ["l2=0,1", "cut = top,blocks+block5_pool"]}}),
    ],
    ids=["cut", "use_cuts", "unfreeze", "grid"],
)
def test_every_option_that_names_layers_is_looked_at(stage, table):
    with pytest.raises(InputError, match=r"'block5_pool' of VGG16, received backbone VGG19"):
        check(table, stage)
    (option,) = {key for keys in table.values() for key in keys} - {"backbone"}
    check(table, stage, given={option.replace("-", "_")})


def test_words_for_layers_of_any_backbone_pass():
    check({"backbone": {"backbone": "VGG16", "cut": ["blocks", "top"]}})
    check({"finetune": {"unfreeze": "all"}}, "finetune")
    check({"finetune": {"unfreeze": "30"}}, "finetune")
    check({"sweep": {"grid": ["cut=top,blocks", "or", "hidden=8"]}}, "sweep")


def test_every_recipe_of_ours_passes_for_its_own_backbone():
    tables = load_recipe(DOGS)
    check_layers(tables, "recipe x", "all", "InceptionV3", ())

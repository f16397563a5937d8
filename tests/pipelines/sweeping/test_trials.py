"""Trials: which are trained together, and by which key the journal knows them."""

import dataclasses
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import sweep
from pipelines.setup import Setup
from pipelines.sweep import SweepStage
from pipelines.sweeping import trials
from pipelines.sweeping.halving import Plan, journal_key
from pipelines.sweeping.space import read_spaces
from pipelines.sweeping.trials import Group, Trial, distinct, groups_of, option_kinds
from tests.pipelines.sweeping.test_halving import write_features
from transfer.backbones.options import BackboneOptions
from transfer.heads.bank import Design, stack_key
from transfer.heads.building import build_head
from transfer.heads.options import FitOptions, HeadOptions
from transfer.images.sources import DataOptions

HEADS = st.builds(
    HeadOptions,
    hidden=st.lists(st.sampled_from([4, 64, 256]), max_size=2).map(tuple),
    activation=st.sampled_from(["relu", "gelu"]),
    batch_norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.1, 0.5]),
    l2=st.none() | st.floats(0, 1),
)
FITS = st.builds(
    FitOptions,
    epochs=st.integers(1, 50),
    batch_size=st.none() | st.sampled_from([16, 64]),
    learning_rate=st.none() | st.floats(1e-6, 1),
    optimizer=st.sampled_from(["adam", "adamw", "sgd"]),
    class_weights=st.sampled_from(["none", "balanced"]),
    shuffle=st.booleans(),
)


def trials_of(options):
    """Trials of some `(head, fit)`."""
    return [
        Trial(number, {"number": number}, Setup(), (), head, fit)
        for number, (head, fit) in enumerate(options)
    ]


def num_weights(head, num_features, num_classes):
    """Counted by Keras."""
    model = build_head(
        head, np.zeros(num_features), np.ones(num_features), (num_features,), num_classes
    )
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


# ---- trials that are alike


def candidates(*grid, **backbone):
    stage = SweepStage(Setup(backbone=BackboneOptions(**backbone)), grid=grid)
    return [trial.point for trial in sweep.read_trials(stage)]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (
            "hidden=0,8 batch_norm=false,true activation=relu,gelu l2=0.01",
            [
                {"hidden": (), "l2": 0.01},
                *(
                    {"hidden": (8,), "batch_norm": norm, "activation": name, "l2": 0.01}
                    for norm in (False, True)
                    for name in ("relu", "gelu")
                ),
            ],
        ),
        (
            "optimizer=sgd,adam,adamw,rmsprop momentum=0.5,0.8 beta_1=0.8",
            [
                {"optimizer": "sgd", "momentum": 0.5},
                {"optimizer": "sgd", "momentum": 0.8},
                {"optimizer": "adam", "beta_1": 0.8},
                {"optimizer": "rmsprop"},
            ],
        ),
        (
            "schedule=constant,exponential decay=0.5,0.6 warmup_epochs=1,2",
            [
                {"schedule": "constant"},
                {"schedule": "exponential", "decay": 0.5},
                {"schedule": "exponential", "decay": 0.6},
            ],
        ),
        ("l2=default,0.01 or l2=0.01 hidden=0 or hidden=0", [{"l2": None}]),
        (
            "image_size=default,96,224 weights_seed=1,2 use_cuts=top,block_2_add",
            [
                {"image_size": size, "use_cuts": (cut,)}
                for size in (None, 96)
                for cut in ("top", "block_2_add")
            ],
        ),
        ("cut=blocks,blocks+top or hidden=0", [{"cut": ("blocks",)}]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_without_effect_make_no_second_candidate(grid, expected):
    found = candidates(*grid.split())
    assert len(found) == len(expected)
    assert all(point in found for point in expected)


def test_options_of_backbones_that_have_an_effect_make_a_candidate_each():
    assert len(candidates("weights_seed=1,2", weights="none")) == 2
    assert len(candidates("backbone=MobileNetV2,mobilenet-v2,MobileNet")) == 2
    assert len(candidates("pooling=avg,max", "alpha=0.35,1", "views=identity,flip")) == 8
    assert len(candidates("seed=0,1", "hidden=0")) == 2


def test_of_points_that_are_drawn_each_counts_once():
    grid = ("hidden=0", "activation=relu,gelu,tanh", "momentum=uniform(0,0.9)")
    assert candidates(*grid) == [{"hidden": ()}]


BACKBONES = st.builds(
    BackboneOptions,
    backbone=st.sampled_from(["MobileNetV2", "mobilenetv2", "ResNet50"]),
    weights=st.sampled_from(["imagenet", "none"]),
    weights_seed=st.integers(0, 1),
    image_size=st.sampled_from([None, 96, 224]),
    cut=st.sampled_from([(), ("top",), ("blocks",), ("blocks", "top")]),
    pooling=st.sampled_from(["avg", "flatten"]),
)


@given(st.lists(BACKBONES, max_size=12))
@settings(deadline=None, max_examples=30)
def test_backbones_are_one_candidate_where_they_are_one_cache_entry(backbones):
    setups = [Setup(DataOptions("digits", limit_per_class=1), backbone) for backbone in backbones]
    keys = [setup.spec().key for setup in setups]
    firsts = [number for number, key in enumerate(keys) if keys.index(key) == number]
    tried = [
        Trial(number, {}, setup, (), HeadOptions(), FitOptions())
        for number, setup in enumerate(setups)
    ]
    assert [trial.number for trial in distinct(tried)] == firsts


# ---- groups


@given(
    options=st.lists(st.tuples(HEADS, FITS), max_size=30),
    num_features=st.integers(1, 20_000),
    num_classes=st.integers(2, 100),
    seeds=st.integers(1, 3),
    share=st.integers(0, 8),
)
@settings(deadline=None)
def test_each_trial_is_in_one_group_of_its_like(options, num_features, num_classes, seeds, share):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trials, "STACK_BYTES", 2**29 >> 2 * share)
        every = trials_of(options)
        groups = list(groups_of(every, "key", num_features, num_classes, seeds))
        limit = trials.STACK_BYTES
    found = [trial.number for group in groups for trial in group.trials]
    assert sorted(found) == list(range(len(every)))
    sizes = {}
    for group in groups:
        assert group.trials and group.features == "key"
        keys = {stack_key(Design(trial.head, trial.fit)) for trial in group.trials}
        assert len(keys) == 1
        sizes.setdefault(keys.pop(), []).append(len(group.trials))
        numbers = [trial.number for trial in group.trials]
        assert numbers == sorted(numbers)
        if len(numbers) > 1:  # one alone has to be trained however large it is
            widths = [num_features, *group.trials[0].head.hidden, num_classes]
            weights = sum(one * two for one, two in pairwise(widths))
            # The weights, their gradients and Adam's two slots: 4 bytes each, at the least.
            assert seeds * len(numbers) * weights * 16 < limit
    for of_one_stack in sizes.values():
        assert max(of_one_stack) - min(of_one_stack) <= 1
    stacks = {stack_key(Design(head, fit)) for head, fit in options}
    assert set(sizes) == stacks


def test_a_group_is_as_large_as_the_memory_allows(monkeypatch):
    head, num_features, num_classes = HeadOptions(hidden=(64,), dropout=0.5), 5000, 10
    every = trials_of([(head, FitOptions(batch_size=32))] * 100)
    weights = num_weights(head, num_features, num_classes)
    monkeypatch.setattr(trials, "STACK_BYTES", 10 * 4 * 6 * weights * 2)
    groups = list(groups_of(every, "key", num_features, num_classes, seeds=2))
    # Ten trials of two heads fit by their weights; batches need some, but not half of that.
    assert 10 <= len(groups) <= 20
    # Neighbours of the search are in different groups: halving compares within one.
    assert all(
        later.number - earlier.number == len(groups)
        for group in groups
        for earlier, later in pairwise(group.trials)
    )


def test_what_keras_counts_is_what_the_limit_counts(monkeypatch):
    """Of wide features the weights are nearly all of a head's memory."""
    for hidden in [(), (64,), (32, 16)]:
        head = HeadOptions(hidden=hidden)
        (trial,) = trials_of([(head, FitOptions(batch_size=1))])
        counted = trials._head_bytes(trial, 20_000, 10)
        assert counted == pytest.approx(4 * 6 * num_weights(head, 20_000, 10), rel=0.01)


@pytest.mark.parametrize(
    ("backbone", "shape", "num_features"),
    [
        (["identity"], (6000,), 6000),
        (["identity", "flip"], (2, 6000), 6000),
        (["identity"], (5, 6, 200), 6000),
        (["identity", "flip"], (2, 5, 6, 200), 6000),
    ],
    ids=["vector", "views", "spatial", "spatial views"],
)
def test_the_features_of_the_file_count(backbone, shape, num_features, tmp_path, monkeypatch):
    """From the command's options to groups: the width is the file's, of one view."""
    options = BackboneOptions(weights="none", image_size=32, cut=("top",), views=tuple(backbone))
    stage = SweepStage(
        Setup(DataOptions("digits", limit_per_class=2), options, artifacts=tmp_path),
        fit=FitOptions(batch_size=16),
        grid=("learning_rate=geomspace(0.0001,0.1,12)", "hidden=0"),
    )
    labels = np.arange(20) % 10
    write_features(
        tmp_path / "features",
        stage.setup.spec(),
        np.zeros((20, *shape), np.float32),
        labels,
        ["train"] * 10 + ["val"] * 10,
    )
    weights = 10 * num_features
    monkeypatch.setattr(trials, "STACK_BYTES", 4 * 4 * 6 * weights * 1.05)
    groups = list(sweep._groups(sweep.read_trials(stage), Plan((), 1.0, 1, 1)))
    assert [len(group.trials) for group in groups] == [4, 4, 4]


@pytest.mark.parametrize(
    ("head", "fit", "words"),
    [
        ({}, {}, "1 head linear, adam"),
        ({"hidden": (8, 4)}, {"optimizer": "sgd"}, "1 head with 8+4 hidden, sgd"),
        ({"hidden": (8,), "batch_norm": True, "dropout": 0.1}, {}, "batch norm, dropout, adam"),
    ],
)
def test_a_group_in_words(head, fit, words):
    assert (
        words in Group(tuple(trials_of([(HeadOptions(**head), FitOptions(**fit))])), "").description
    )
    two = trials_of([(HeadOptions(**head), FitOptions(**fit))] * 2)
    assert Group(tuple(two), "").description.startswith("2 heads ")


# ---- keys

OTHER = {
    "hidden": (16,),
    "activation": "gelu",
    "batch_norm": True,
    "dropout": 0.2,
    "l2": 0.5,
    "output": "sigmoid",
    "epochs": 31,
    "batch_size": 64,
    "learning_rate": 0.02,
    "schedule": "constant",
    "decay": 0.8,
    "warmup_epochs": 1.0,
    "optimizer": "sgd",
    "momentum": 0.8,
    "beta_1": 0.8,
    "beta_2": 0.99,
    "weight_decay": 0.1,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "patience": 9,
    "monitor": "val_loss",
    "shuffle": False,
    "seed": 1,
}
"""A value of each option of heads and of fitting that is not the default."""
PLAN = Plan((2, 6), 0.34, 1, 1)
(TRIAL,) = trials_of([(HeadOptions(), FitOptions())])
REPLACED = {
    "use_cuts": dataclasses.replace(TRIAL, use_cuts=("top",)),
    "val_fraction": dataclasses.replace(TRIAL, setup=Setup(DataOptions(val_fraction=0.2))),
    "test_fraction": dataclasses.replace(TRIAL, setup=Setup(DataOptions(test_fraction=0.2))),
    "group": dataclasses.replace(TRIAL, setup=Setup(DataOptions(group="(.*)-"))),
}  # fmt: skip


def key_of(*of, plan=PLAN, features="key"):
    return journal_key(Group(tuple(of), features), plan)


def with_option(trial, name, value):
    part = "head" if hasattr(trial.head, name) else "fit"
    options = dataclasses.replace(getattr(trial, part), **{name: value})
    return dataclasses.replace(trial, **{part: options})


def test_any_option_makes_another_key():
    names = [
        field.name for options in (HeadOptions, FitOptions) for field in dataclasses.fields(options)
    ]
    assert set(OTHER) == set(names)  # an option that is new needs a value above
    plans = [
        dataclasses.replace(PLAN, **{name: value})
        for name, value in {
            **{"rungs": (2, 7), "keep": 0.5, "seeds": 2, "folds": 3},
            "rank_by": "accuracy",
        }.items()
    ]
    assert len(plans) == len(dataclasses.fields(Plan))
    keys = [
        key_of(TRIAL),
        *(key_of(with_option(TRIAL, name, value)) for name, value in OTHER.items()),
        *(key_of(trial) for trial in REPLACED.values()),
        *(key_of(TRIAL, plan=plan) for plan in plans),
        key_of(TRIAL, features="other"),
        key_of(TRIAL, with_option(TRIAL, "l2", 0.5)),
        key_of(with_option(TRIAL, "l2", 0.5), TRIAL),
        key_of(TRIAL, TRIAL),
    ]
    assert len(set(keys)) == len(keys)


def test_what_does_not_matter_to_scores_makes_no_other_key():
    setup = Setup(artifacts=Path("elsewhere"), run="other", memory_budget=3.0, extract_batch_size=2)
    other = dataclasses.replace(TRIAL, number=5, point={"l2": None}, setup=setup)
    assert key_of(other) == key_of(TRIAL)


def test_groups_that_change_in_their_file_make_another_key(tmp_path):
    path = tmp_path / "groups.csv"
    trial = dataclasses.replace(TRIAL, setup=Setup(DataOptions(group=str(path))))
    keys = []
    for text in ("a,1\n", "a,2\n", "a,1\n"):
        path.write_text(text)
        keys.append(key_of(trial))
    assert keys[0] == keys[2] != keys[1]


def test_another_rule_of_splitting_makes_another_key(monkeypatch):
    before = key_of(TRIAL)
    monkeypatch.setattr("transfer.images.splits.RULE", 99)
    assert key_of(TRIAL) != before


def test_a_newer_keras_makes_another_key(monkeypatch):
    before = key_of(TRIAL)
    monkeypatch.setattr(
        "pipelines.sweeping.halving.version", lambda name: "99.0" if name == "keras" else "1"
    )
    assert key_of(TRIAL) != before


# ---- names


def test_all_options_of_heads_fitting_and_backbone_can_be_searched():
    names = [
        field.name
        for options in (HeadOptions, FitOptions, BackboneOptions)
        for field in dataclasses.fields(options)
    ]
    kinds = option_kinds()
    assert sorted(kinds) == sorted([*names, "use_cuts"])
    words = ("hidden=0,8+4", "l2=default,0.1", "views=identity+flip", "use_cuts=one+two", "alpha=1")
    assert read_spaces(words, kinds) == [
        {
            "hidden": [(), (8, 4)],
            "l2": [None, 0.1],
            "views": [("identity", "flip")],
            "use_cuts": [("one", "two")],
            "alpha": [1.0],
        }
    ]

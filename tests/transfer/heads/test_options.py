"""Options of heads: what follows from them, and which are refused."""

from dataclasses import fields, replace

import numpy as np
import pytest

from tests.transfer.heads.problems import problem
from transfer.errors import InputError
from transfer.heads.bank import Design, HeadBank, stack_key
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.fitting import fit_head
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples


def test_small_sets_get_small_batches_and_wide_features_small_rates():
    options = FitOptions()
    assert [options.batch_size_for(rows) for rows in (10, 480, 1150, 5000, 45000)] == [
        *[16, 16, 32, 128, 256]
    ]
    assert FitOptions(batch_size=7).batch_size_for(45000) == 7
    assert options.learning_rate_for(1280) == options.learning_rate_for(20) == 1e-3
    assert options.learning_rate_for(4 * 1280) == pytest.approx(5e-4)
    assert FitOptions(learning_rate=0.1).learning_rate_for(4 * 1280) == 0.1


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
    ],
)
def test_impossible_options_are_refused(values, flag):
    with pytest.raises(InputError, match=flag):
        FitOptions(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("warmup_epochs", float("nan")), ("weight_decay", -0.1), ("decay", -1.0)],
)
def test_options_that_cannot_work_are_refused(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} expects"):
        FitOptions(**{name: value})


# ---- options without effect

OTHER = {
    "hidden": (3,),
    "activation": "tanh",
    "batch_norm": True,
    "dropout": 0.3,
    "l2": 0.05,
    "output": "sigmoid",
    "epochs": 5,
    "batch_size": 32,
    "learning_rate": 0.02,
    "schedule": "constant",
    "decay": 0.5,
    "warmup_epochs": 1.5,
    "optimizer": "adamw",
    "momentum": 0.5,
    "beta_1": 0.5,
    "beta_2": 0.9,
    "weight_decay": 0.1,
    "label_smoothing": 0.2,
    "class_weights": "balanced",
    "patience": 1,
    "monitor": "val_loss",
    "shuffle": False,
    "seed": 1,
}
"""A value of each option that no design below has."""
COMMON = {"epochs": 6, "batch_size": 16, "learning_rate": 0.05, "patience": 3}
SGD = {"optimizer": "sgd", "schedule": "exponential"}
DESIGNS = {
    name: Design(HeadOptions(**head), FitOptions(**COMMON, **fit))
    for name, head, fit in [
        ("linear, adam, cosine", {}, {}),
        ("hidden, sgd, exponential", {"hidden": (4,)}, SGD),
        ("hidden, adam, plateau", {"hidden": (4,), "activation": "gelu"}, {"schedule": "plateau"}),
        ("linear, rmsprop, plateau", {}, {"optimizer": "rmsprop", "schedule": "plateau"}),
    ]
}
FEATURES, LABELS, VAL_FEATURES, VAL_LABELS = problem(96, num_features=6, num_classes=2, val_rows=60)
STATISTICS = feature_statistics(FEATURES)


def with_other(design, *names):
    head = {name: OTHER[name] for name in names if hasattr(design.head, name)}
    fit = {name: OTHER[name] for name in names if hasattr(design.fit, name)}
    return Design(replace(design.head, **head), replace(design.fit, **fit))


def effective(design):
    return design.head.effective(), design.fit.effective()


def without_effect(design):
    return {*design.head.without_effect, *design.fit.without_effect}


def is_close(arrays, others):
    return len(arrays) == len(others) and all(
        one.shape == other.shape and np.allclose(one, other, rtol=1e-5, atol=1e-6)
        for one, other in zip(arrays, others, strict=True)
    )


def test_each_option_has_another_value():
    assert set(OTHER) == {one.name for kind in (HeadOptions, FitOptions) for one in fields(kind)}


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_training_differs_exactly_where_options_are_said_to_have_an_effect(design):
    changed = {name: with_other(design, name) for name in OTHER}
    assert all(effective(changed[name]) == effective(design) for name in without_effect(design))
    stacked = {name: one for name, one in changed.items() if stack_key(one) == stack_key(design)}
    for name in changed.keys() - stacked.keys():  # that they differ is seen without training
        assert effective(changed[name]) != effective(design), name
    bank = HeadBank([design, *stacked.values()], *STATISTICS, (6,), 2)
    bank.fit(Samples(FEATURES, LABELS), Samples(VAL_FEATURES, VAL_LABELS), COMMON["epochs"])

    def came_to(number):
        history = map(np.array, bank.history[number].values())
        return [*history, *bank.head(number).get_weights()]

    for number, (name, one) in enumerate(stacked.items(), start=1):
        is_same = effective(one) == effective(design)
        assert is_close(came_to(number), came_to(0)) == is_same, name


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_keras_trains_the_same_weights_whatever_options_without_effect_say(design):
    idle = without_effect(design)
    assert idle
    if design.fit.optimizer == "adam":
        idle.add("optimizer")  # adamw is adam, also with a decay
        design = replace(design, fit=replace(design.fit, weight_decay=0.1))

    def weights(one):
        head = build_head(one.head, *STATISTICS, (6,), 2, one.fit.seed)
        fit_head(head, FEATURES, LABELS, VAL_FEATURES, VAL_LABELS, one.fit)
        return head.get_weights()

    assert is_close(weights(with_other(design, *idle)), weights(design))


def test_what_is_left_open_is_what_it_is_by_default():
    for hidden, l2 in [((), 0.01), ((8,), 0.0)]:
        said, left_open = HeadOptions(hidden=hidden, l2=l2), HeadOptions(hidden=hidden)
        assert said != left_open and said.effective() == left_open.effective()
    # These depend on the features.
    for options in ({"learning_rate": 0.001}, {"batch_size": 256}):
        assert FitOptions(**options).effective() != FitOptions().effective()

"""The range of learning rates: losses are those of single trainings, the suggestion is safe."""

import contextlib
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from pipelines.cli import main
from pipelines.heads.training import TrainingData
from pipelines.rates import RatesStage, losses_at, suggest
from pipelines.setup import Setup
from tests.pipelines.sweeping.test_halving import (
    ALL_LABELS,
    ALL_SPLITS,
    FEATURES,
    NUM_CLASSES,
    TRAIN,
    VAL,
    WIDTH,
    write_features,
)
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.fitting import predict_head, refit_head
from transfer.heads.options import FitOptions
from transfer.heads.samples import Samples
from transfer.images.sources import DataOptions

RATES = np.geomspace(1e-6, 1, 37)


# ---- the suggestion


def test_the_middle_of_a_flat_minimum():
    losses = np.full(37, 2.0)
    losses[12:25] = 0.5 + 0.004 * np.sin(np.arange(13))  # flat but for noise
    assert suggest(RATES, losses) == pytest.approx(math.sqrt(RATES[12] * RATES[24]), rel=0.05)


def test_the_best_rate_of_a_sharp_minimum():
    losses = np.abs(np.log10(RATES) + 3)
    assert suggest(RATES, losses) == pytest.approx(1e-3, rel=0.05)


def test_rates_that_diverge_are_not_near():
    losses = np.linspace(2.0, 0.5, 37)
    losses[30:] = np.inf
    assert suggest(RATES, losses) == pytest.approx(RATES[29], rel=0.05)
    losses[:] = 0.5  # flat up to where it diverges: well inside the flat
    losses[25:] = np.inf
    assert suggest(RATES, losses) == pytest.approx(RATES[12], rel=0.05)


def test_losses_that_only_rise_ask_for_the_lowest_rate():
    assert suggest(RATES, np.linspace(0.5, 2.0, 37)) == pytest.approx(RATES[0], rel=0.05)


def test_losses_that_only_fall_ask_for_the_highest_rate():
    assert suggest(RATES, np.linspace(2.0, 0.5, 37)) == pytest.approx(RATES[-1], rel=0.05)


def test_the_lowest_rate_may_diverge():
    losses = np.linspace(2.0, 0.5, 37)
    losses[0] = np.inf
    assert suggest(RATES, losses) == pytest.approx(RATES[-1], rel=0.05)


def test_if_all_diverge_there_is_no_suggestion():
    with pytest.raises(InputError) as refused:
        suggest(RATES, np.full(37, np.inf))
    assert "--lowest" in str(refused.value) and "\n" not in str(refused.value)


@given(
    st.lists(st.floats(0, 10) | st.just(math.inf), min_size=3, max_size=40),
    st.floats(-9, -3),
    st.floats(0.5, 6),
)
def test_a_suggestion_lies_among_the_good_rates(losses, lowest, magnitudes):
    losses = np.array(losses)
    assume(np.isfinite(losses).any())
    rates = np.geomspace(10**lowest, 10 ** (lowest + magnitudes), len(losses))
    suggestion = suggest(rates, losses)
    best = losses.min()
    good = rates[losses <= best + 0.02 * max(losses[np.isfinite(losses)][0] - best, 0)]
    assert 0.94 * good.min() <= suggestion <= 1.06 * good.max()  # of two digits
    assert float(f"{suggestion:.2g}") == suggestion


# ---- the losses

DATA = TrainingData(
    Samples(FEATURES[TRAIN], ALL_LABELS[TRAIN]),
    Samples(FEATURES[VAL], ALL_LABELS[VAL]),
    *feature_statistics(FEATURES[TRAIN]),
    NUM_CLASSES,
)
SIX = np.array([1e-5, 1e-3, 0.01, 0.03, 0.3, 1.0])


def by_keras(stage, rate):
    """Loss after training one head at a constant rate, by `Model.fit`."""
    head = build_head(stage.head, DATA.mean, DATA.variance, (WIDTH,), NUM_CLASSES, stage.fit.seed)
    fit = replace(stage.fit, learning_rate=rate, schedule="constant", epochs=stage.passes)
    refit_head(head, DATA.train.features, DATA.train.labels, fit, stage.passes)
    probabilities = predict_head(head, DATA.val.features)
    picked = probabilities[np.arange(len(VAL)), DATA.val.labels]
    return -np.log(np.maximum(picked, 1e-7)).mean()


@pytest.mark.parametrize("passes", [1, 3])
def test_losses_are_those_of_single_trainings(passes):
    stage = RatesStage(
        fit=FitOptions(seed=3, schedule="cosine", epochs=9, patience=1), passes=passes
    )
    losses = losses_at(stage, DATA, SIX)
    assert losses.shape == (6,)
    index = 3 if passes == 1 else 4
    assert losses[index] == pytest.approx(by_keras(stage, float(SIX[index])), rel=2e-3)
    assert losses[0] > losses[3]  # hardly trained


def test_rates_that_diverge_are_infinite_and_the_others_are_not():
    losses = losses_at(RatesStage(passes=2), DATA, np.array([*SIX[:5], 1e38]))
    assert np.isfinite(losses[:5]).all()
    assert np.isinf(losses[5])


# ---- the command

TINY = ["--backbone", "MobileNetV2", "--alpha", "0.35", "--weights", "none", "--image-size", "32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store that has made-up features of digits: no backbone need run."""
    folder = tmp_path_factory.mktemp("rates")
    backbone = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)
    setup = Setup(DataOptions("digits"), backbone, artifacts=folder)
    write_features(setup.feature_store, setup.spec())
    return folder


def command(place, *more):
    return ["rates", "--data", "digits", *TINY, "--artifacts", str(place), "--run", "run", *more]


def test_the_command_writes_rates_and_a_picture(place):
    said = io.StringIO()
    more = ["--number", "6", "--lowest", "0.00001", "--highest", "1", "--learning-rate", "0.5"]
    with contextlib.redirect_stdout(said):
        assert main(command(place, *more)) == 0
    folder = place / "runs" / "run"
    result = json.loads((folder / "rates.json").read_text())
    rates, losses = np.array(result["rates"]), np.array(result["val_loss"])
    np.testing.assert_allclose(rates, np.geomspace(1e-5, 1, 6))
    np.testing.assert_allclose(losses, losses_at(RatesStage(), DATA, rates), rtol=1e-3)
    assert result["suggestion"] == suggest(rates, losses)
    assert f"--learning-rate {result['suggestion']:.2g}" in said.getvalue()
    with Image.open(folder / "rates.png") as image:
        assert image.format == "PNG" and min(image.size) > 200


@pytest.mark.parametrize(("slope", "at_the_edge"), [(1, True), (-1, True), (0, False)])
def test_a_best_rate_at_the_edge_is_said(slope, at_the_edge, place, monkeypatch, capsys):
    def losses(stage, data, rates):
        places = np.linspace(-1, 1, len(rates))
        return 2 + slope * places + (slope == 0) * places**2

    monkeypatch.setattr("pipelines.rates.losses_at", losses)
    assert main(command(place)) == 0
    said = capsys.readouterr().out
    assert ("widen --lowest or --highest" in said) == at_the_edge


def test_a_rate_that_diverged_is_null(place):
    assert main(command(place, "--number", "6", "--lowest", "0.001", "--highest", "1e38")) == 0
    losses = json.loads((place / "runs" / "run" / "rates.json").read_text())["val_loss"]
    assert losses[5] is None and losses[0] > 0


REFUSED = {
    "a rate of nothing": (["--lowest", "0"], "--lowest and --highest expect rates above 0"),
    "the higher first": (["--lowest", "1", "--highest", "0.1"], "the lower first"),
    "no number": (["--lowest", "nan"], "--lowest"),
    "two rates": (["--number", "2"], "--number expects at least 3"),
    "no pass": (["--passes", "0"], "--passes at least 1"),
    "a rate without bound": (["--highest", "inf"], "inf"),
    "an unknown cut": (["--use-cuts", "nope"], "nope"),
    "all diverge": (["--number", "6", "--lowest", "1e38", "--highest", "2e38"], "try lower ones"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_one_clear_line(mistake, place, capsys, recwarn):
    more, words = REFUSED[mistake]
    assert main(command(place, *more)) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_without_validation_rows_nothing_can_be_judged(tmp_path, capsys):
    backbone = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)
    setup = Setup(DataOptions("digits"), backbone, artifacts=tmp_path)
    split = np.where(ALL_SPLITS == "val", "train", ALL_SPLITS)
    write_features(setup.feature_store, setup.spec(), split=split)
    assert main(command(tmp_path, "--val-fraction", "0")) == 2
    assert "--val-fraction" in capsys.readouterr().err

"""The test of rates: nothing is changed by it, and what it finds does not diverge."""

from dataclasses import replace

import numpy as np
import pytest

from tests.transfer.finetuning.small_classifier import (
    image_set,
    labels_for,
    seeded_classifier,
    tuner_of,
)
from transfer.finetuning.image_batches import DecodedImages, ImageBatches
from transfer.finetuning.options import FinetuneOptions
from transfer.finetuning.rate_test import (
    HIGHEST,
    LOWEST,
    MARGIN,
    STEPS,
    _smoothed,
    _turn,
    find_rate,
)

OPTIONS = FinetuneOptions(epochs=1, batch_size=8, head_rate=1.0)


@pytest.fixture(scope="module")
def trainable():
    """A tuner, and batches for a test of rates."""
    images = image_set(size=32)
    # What cannot be learned at once: a loss of nothing would stay nothing at any rate.
    images = replace(images, labels=np.random.default_rng(0).integers(0, 2, 36))
    rows = np.resize(np.arange(24), 8 * STEPS)
    decoded = DecodedImages(images, (32, 32))
    tuner = tuner_of(seeded_classifier(), "all", OPTIONS, STEPS, decoded.preparing_layers())

    def batches():
        return labels_for(ImageBatches(decoded, rows, 8, 1), images, rows, OPTIONS)

    return tuner, batches


def test_weights_are_as_before_and_the_rate_is_one_that_was_tested(trainable):
    tuner, batches = trainable
    reported = []
    found = find_rate(tuner, batches(), reported.append)
    for variable, start in zip(tuner.variables, tuner.start, strict=True):
        np.testing.assert_array_equal(np.array(variable), start)
    assert LOWEST / MARGIN <= found.rate <= HIGHEST / MARGIN
    assert len(found.rates) == len(found.losses) <= STEPS
    assert reported == list(range(1, len(reported) + 1)) and len(reported) >= len(found.rates)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-5, 1e-1, 24)[: len(found.rates)])
    assert np.isfinite(found.losses).all()


def test_a_test_repeated_finds_the_same(trainable):
    tuner, batches = trainable
    one, two = (find_rate(tuner, batches()) for _ in range(2))
    assert one.losses == two.losses and one.rate == two.rate


def test_a_model_that_diverges_early_gets_a_lower_rate(trainable):
    tuner, batches = trainable
    calm = find_rate(tuner, batches()).rate
    # The same function, in which a step of one layer moves what is said a thousand times as far.
    scales = {"block_1_conv/kernel": 1e-3, "block_1_norm/gamma": 1e3}
    names = ["/".join(variable.path.split("/")[-2:]) for variable in tuner.variables]
    wild = [w * np.float32(scales.get(n, 1)) for n, w in zip(names, tuner.start, strict=True)]
    tuner.set_weights(wild)
    try:
        rate = find_rate(tuner, batches()).rate
        for variable, before in zip(tuner.variables, wild, strict=True):
            np.testing.assert_array_equal(np.array(variable), before)
    finally:
        tuner.set_weights(tuner.start)
    assert rate < calm


@pytest.mark.parametrize(
    ("curve", "turn"),
    [
        (np.full(24, 1.0), 23),  # flat to the end
        (np.linspace(1, 0.2, 24), 23),  # better to the end
        (np.r_[np.linspace(1, 0.5, 12), np.geomspace(2, 100, 12)], 11),  # up from the thirteenth
        (np.r_[np.full(6, 1.0), np.full(18, 9.0)], 5),
        (np.r_[1.0, 1.0, 1.0, np.full(21, 50.0)], 2),
        (np.r_[np.full(12, 0.0), np.full(12, 0.09)], 23),  # of nothing, less than a tenth
        (np.r_[np.full(12, 0.0), np.full(12, 0.11)], 11),
        (np.r_[1.0, 1.4, 1.0, 1.3, np.full(20, 1.2)], 23),  # noise is no rise
        (np.array([0.5, 0.4, 0.3, 0.2]), 3),  # it ended early
    ],
)
def test_the_turn_is_in_front_of_the_rise(curve, turn):
    assert _turn(curve) == turn


def test_losses_are_means_of_three_neighbours():
    losses = np.random.default_rng(0).gamma(1.0, size=9)
    smooth = _smoothed(losses)
    for number in range(1, 8):
        assert smooth[number] == pytest.approx(losses[number - 1 : number + 2].mean())
    assert smooth[0] == pytest.approx((2 * losses[0] + losses[1]) / 3)
    assert smooth[-1] == pytest.approx((2 * losses[-1] + losses[-2]) / 3)

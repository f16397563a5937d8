"""Between start and end: straight lines, means of moves, and how far is surely better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transfer.finetuning.interpolation import (
    NEGLIGIBLE,
    SHARES,
    Step,
    between,
    choose_step,
    mean_move,
)

SHAPES = ((2, 3), (4,))


def weights(seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def steps_of(losses):
    shares = np.linspace(0, 1, len(losses))
    return [
        Step(float(share), np.asarray(one, float), np.ones(len(one)))
        for share, one in zip(shares, losses, strict=True)
    ]


@pytest.mark.parametrize("share", SHARES)
def test_between_lies_on_the_line(share):
    start, end = weights(0), weights(1)
    for one, two, found in zip(start, end, between(start, end, share), strict=True):
        np.testing.assert_allclose(found, (1 - share) * one + share * two, atol=1e-6)
        assert found.dtype == np.float32
        if share == 0:
            np.testing.assert_array_equal(found, one)


def test_the_mean_of_moves_is_that_of_differences():
    moves = [(weights(n), weights(10 + n)) for n in range(3)]
    for number, found in enumerate(mean_move(iter(moves))):
        expected = np.mean([end[number] - start[number] for start, end in moves], axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6), st.floats(0, 3))
def test_the_choice_is_what_surely_gains_most(seed, images, count, spread):
    rng = np.random.default_rng(seed)
    losses = rng.gamma(1.0, size=images) + spread * rng.normal(size=(count, images))
    steps = steps_of(losses)
    gains = losses[0] - losses
    sure = np.array([0.0, *(each.mean() - stats.sem(each) for each in gains[1:])])
    chosen = steps.index(choose_step(steps))
    assert sure[chosen] >= sure.max() - NEGLIGIBLE - 1e-12
    assert (sure[:chosen] < sure.max() - NEGLIGIBLE + 1e-12).all()


def test_equal_losses_go_nowhere():
    one = np.random.default_rng(0).gamma(1.0, size=20)
    assert choose_step(steps_of([one] * 5)).share == 0
    # Less than a standard error is no reason, nor is less than anybody can see.
    noise = np.tile([0.5, -0.5], 10)
    assert choose_step(steps_of([one, one - 0.01 + noise])).share == 0
    assert choose_step(steps_of([one, one - NEGLIGIBLE / 2])).share == 0


def test_a_clear_gain_moves_and_no_further_than_it_gains():
    rng = np.random.default_rng(0)
    one = rng.gamma(1.0, size=50)
    gains = (0.0, 0.2, 0.3, 0.3, -0.5)
    losses = [one - gain + 0.01 * rng.normal(size=50) for gain in gains]
    assert choose_step(steps_of(losses)).share == 0.5
    assert choose_step(steps_of(losses[:2])).share == 1.0


def test_a_short_way_that_surely_gains_is_not_lost_to_a_long_one_that_may():
    rng = np.random.default_rng(0)
    one, noise = rng.gamma(1.0, size=400), rng.normal(size=400)
    noise -= noise.mean()
    losses = [one, one - 0.005 + 0.05 * noise, one - 0.01 + 0.25 * noise]
    assert choose_step(steps_of(losses)).share == 0.5


def test_a_single_image_is_no_reason_to_move():
    assert choose_step(steps_of([[5.0], [0.1]])).share == 0

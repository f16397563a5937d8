"""Intervals of scores, beside scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from transfer.intervals import accuracy_interval, balanced_interval, loss_interval


@given(st.integers(1, 400), st.data())
def test_accuracy_is_wilsons(count, data):
    hits = data.draw(st.integers(0, count))
    right = np.arange(count) < hits
    one = accuracy_interval(right)
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert (one.value, one.low, one.high) == pytest.approx(
        (hits / count, expected.low, expected.high),
        abs=1e-4,  # 1.96 is rounded
    )


def test_no_mistake_among_few_is_no_certainty():
    one = accuracy_interval(np.ones(29, bool))
    assert one.value == one.high == 1
    assert one.low < 0.9


def test_losses_are_drawn_again():
    rng = np.random.default_rng(0)
    said, labels = rng.dirichlet([1, 1, 1], 300), rng.integers(0, 3, 300)
    losses = -np.log(said[np.arange(300), labels])
    one = loss_interval(said, labels)
    expected = bootstrap((losses,), np.mean, method="percentile", rng=1).confidence_interval
    assert one.value == pytest.approx(losses.mean())
    assert (one.low, one.high) == pytest.approx(tuple(expected), abs=0.02)


def test_each_class_is_drawn_by_itself():
    labels = np.repeat([0, 1], [400, 20])
    right = np.concatenate([np.arange(400) < 360, np.arange(20) < 10])
    one = balanced_interval(right, labels)
    # The mean of two independent shares.
    error = np.sqrt(0.9 * 0.1 / 400 + 0.5 * 0.5 / 20) / 2
    assert one.value == pytest.approx(0.7)
    assert one.high - one.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert balanced_interval(right[::-1], labels[::-1]).value == pytest.approx(0.7)

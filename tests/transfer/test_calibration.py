"""Calibration and thresholds against scikit-learn, scipy and plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax

from transfer.calibration import (
    Aim,
    at_temperature,
    at_threshold,
    read_aim,
    reliability,
    thresholds_for,
    wilson_interval,
)
from transfer.errors import InputError


@st.composite
def predictions(draw):
    """Random softmax outputs, some of them equal, with random labels and any class empty."""
    num_classes, rows = draw(st.integers(2, 5)), draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = np.round(random.normal(0, 2, (rows, num_classes)), draw(st.integers(0, 3)))
    labels = random.integers(0, draw(st.integers(1, num_classes)), rows)
    return softmax(logits, axis=1), labels


@settings(max_examples=50, deadline=None)
@given(predictions(), st.floats(0.1, 10))
def test_a_temperature_divides_logits_and_its_inverse_undoes_it(case, temperature):
    probabilities, _ = case
    logits = np.log(probabilities)
    found = at_temperature(probabilities, temperature)
    np.testing.assert_allclose(found, softmax(logits / temperature, axis=1), rtol=1e-9)
    np.testing.assert_allclose(at_temperature(found, 1 / temperature), probabilities, rtol=1e-6)


def test_certain_answers_stay_so():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    np.testing.assert_allclose(at_temperature(probabilities, 2.0), probabilities, atol=1e-30)


def test_intervals_are_wilsons():
    shares, counts = np.array([0.0, 0.3, 1.0]), np.array([10, 40, 7])
    low, high = wilson_interval(shares, counts)
    for share, count, lower, upper in zip(shares, counts, low, high, strict=True):
        test = stats.binomtest(round(share * count), int(count))
        expected = test.proportion_ci(method="wilson")
        assert (lower, upper) == pytest.approx((expected.low, expected.high), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(predictions())
def test_bins_share_the_images_out_evenly_and_in_order(case):
    probabilities, labels = case
    found = reliability(probabilities, labels)
    assert found.images.sum() == len(labels)
    assert np.ptp(found.images) <= 1
    assert len(found.images) == 1 or found.images.min() >= 10
    assert (np.diff(found.confidence) >= 0).all()
    right = probabilities.argmax(1) == labels
    assert (found.accuracy * found.images).sum() == pytest.approx(right.sum())
    assert (found.low <= found.accuracy + 1e-12).all() and (
        found.accuracy <= found.high + 1e-12
    ).all()


def test_of_a_thousand_true_probabilities_the_bins_are_true():
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 20_000)
    labels = (random.uniform(size=20_000) > sure).astype(int)
    found = reliability(np.stack([sure, 1 - sure], axis=1), labels)
    assert ((found.low <= found.confidence) & (found.confidence <= found.high)).sum() >= 8


@settings(max_examples=100, deadline=None)
@given(predictions(), st.sampled_from(["precision", "recall"]), st.floats(0.01, 1))
def test_thresholds_reach_what_they_are_for_at_the_least_cost(case, score, least):
    probabilities, labels = case
    names = [f"class {number}" for number in range(probabilities.shape[1])]
    found = thresholds_for(Aim(score, least), probabilities, labels, names)
    for number, one in enumerate(found):
        scores, of_class = probabilities[:, number], labels == number
        every = [at_threshold(names[number], t, scores, of_class) for t in np.unique(scores)]
        reached = [each for each in every if (getattr(each, score) or 0) >= least]
        assert one.class_name == names[number]
        if not of_class.any() or not reached:
            assert (one.threshold, one.images) == (None, 0)
            continue
        best = reached[0] if score == "precision" else reached[-1]
        assert one == best


def test_a_threshold_says_by_how_many():
    scores, of_class = np.array([0.1, 0.6, 0.7, 0.9]), np.array([True, False, True, True])
    one = at_threshold("cat", 0.6, scores, of_class)
    assert (one.precision, one.recall, one.images) == (2 / 3, 2 / 3, 3)
    assert not one.is_sure
    assert at_threshold("cat", 0.95, scores, of_class).precision is None
    assert at_threshold("cat", 0.5, scores, np.zeros(4, bool)).recall is None


def test_aims_are_read():
    assert read_aim("precision=0.95") == Aim("precision", 0.95)
    assert str(read_aim("recall=1")) == "recall=1"
    for text in ("", "precision", "precision=", "recall=nan", "recall=1.1", "accuracy=0.9"):
        with pytest.raises(InputError, match="--threshold-for expects"):
            read_aim(text)

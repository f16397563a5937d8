"""Accuracy against number of images, and what twice as many would bring."""

import numpy as np
import pytest

from transfer.auditing import enough
from transfer.auditing.enough import Curve, learning_curve


def problem(images, seed=0, classes=2, width=20):
    """Images of classes that overlap, so that more of them help."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    centres = rng.normal(size=(classes, width)) * 0.45
    return (centres[labels] + rng.normal(size=(images, width))).astype(np.float32), labels


def curve_of(features, labels, classes=2):
    folds = np.arange(len(labels)) % 5
    return learning_curve(features, [features.shape[1]], labels, classes, folds)


def test_more_images_are_better_and_twice_as_many_are_foretold():
    features, labels = problem(400, seed=1)
    curve = curve_of(features[:200], labels[:200])
    assert curve.sizes.tolist() == [5, 10, 20, 40, 80]
    assert curve.accuracies[-1] > curve.accuracies[0] + 0.05
    now, twice = curve.at(curve.now), curve.at(2 * curve.now)
    assert 0 < now[1] < 0.1 and 0 < twice[1] < 0.1
    truth = curve_of(features, labels).accuracies[-1]  # learned from 160 per class
    assert truth == pytest.approx(curve.at(160)[0], abs=3 * curve.at(160)[1])


def test_a_power_law_is_found_again():
    sizes = np.array([5.0, 10, 20, 40, 80])
    chances = 0.95 - 0.8 * sizes**-0.5
    draws = np.random.default_rng(0).random((20, 5, 5000)) < chances[:, None]
    accuracy, error = Curve(sizes, draws, 100).at(160)
    assert accuracy == pytest.approx(0.95 - 0.8 * 160**-0.5, abs=0.01)
    assert error < 0.02


def test_errors_are_those_of_drawing_images_and_orders():
    rng = np.random.default_rng(0)
    # Images differ, orders do not; then orders differ, and images do not.
    images = np.broadcast_to(rng.random((1, 3, 400)) < 0.8, (4, 3, 400))
    curve = Curve(np.array([5.0, 10, 20]), images, 25)
    expected = images[0].std(1) / 400**0.5
    np.testing.assert_allclose(curve.errors, expected, rtol=0.15)
    orders = np.broadcast_to(np.array([[True], [True], [False], [False]])[:, None], (4, 3, 400))
    curve = Curve(np.array([5.0, 10, 20]), orders, 25)
    np.testing.assert_allclose(curve.errors, 0.5 / 4**0.5, rtol=0.15)


def test_of_few_images_nothing_is_said():
    features, labels = problem(20)
    assert curve_of(features, labels) is None


def test_many_images_are_judged_by_the_first_fold(monkeypatch):
    features, labels = problem(600, classes=3)
    few = curve_of(features, labels, 3)
    monkeypatch.setattr(enough, "MOST_SAMPLES", 250)
    many = curve_of(features, labels, 3)
    assert many.hits.shape == (1, len(few.sizes), 120)
    np.testing.assert_allclose(many.accuracies, few.accuracies, atol=0.12)
    assert many.accuracies[-1] == pytest.approx(few.accuracies[-1], abs=0.08)

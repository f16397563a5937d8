"""Fits of all folds at once against scikit-learn's one by one, and the walk over penalties."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from tests.transfer.choosing.problems import WIDTHS, rows
from transfer.choosing import paths
from transfer.choosing.candidates import Candidate
from transfer.choosing.paths import (
    PENALTIES,
    TOLERANCE,
    Fitted,
    best_around,
    best_on_path,
    fit_again,
    fitted_at,
    losses_of,
    lowest_number,
    probabilities_of,
    without_features,
)
from transfer.choosing.problems import Products, in_columns
from transfer.choosing.standardising import standardised
from transfer.metrics import cross_entropy

ALL = Candidate(3, False, "none")
LAST = Candidate(1, False, "none")
ALIKE = Candidate(3, True, "none")


def problem_of(data, candidate=ALL):
    features = standardised(data, candidate.transform).features
    return Products(features, data.widths).problem(candidate.weights(data.widths))


def objective(features, labels, kernel, bias, penalty):
    losses = -log_softmax(features @ kernel + bias, axis=1)[np.arange(len(labels)), labels]
    return losses.sum() + penalty / 2 * np.square(kernel).sum()


def check_as_scikit_learn(problem, data, candidate, fitted, rel=5e-4, atol=2e-3):
    scales = np.sqrt(np.repeat(candidate.weights(WIDTHS), WIDTHS))
    features = standardised(data, "none").features.astype(float) * scales
    for fit in range(4):
        learns = data.learning[:, fit]
        exact = LogisticRegression(C=1 / fitted.penalty, tol=1e-10, max_iter=10_000)
        exact.fit(features[learns], data.labels[learns])
        lowest = objective(
            features[learns],
            data.labels[learns],
            exact.coef_.T,
            exact.intercept_,
            fitted.penalty,
        )
        # The way back: weights of standardised features, of which the model sees scaled ones.
        kernel = problem.kernel(fitted.weights[:-1, fit]) / np.where(scales, scales, 1)[:, None]
        bias = fitted.weights[-1, fit]
        ours = objective(features[learns], data.labels[learns], kernel, bias, fitted.penalty)
        assert lowest <= ours * (1 + 1e-6)
        assert ours == pytest.approx(lowest, rel=rel)
        judged = data.judge == fit
        expected = features[judged] @ kernel + bias
        np.testing.assert_allclose(fitted.logits[judged, 0], expected, atol=atol)


@pytest.mark.parametrize("candidate", [ALL, LAST, ALIKE])
def test_every_fold_is_fitted_as_scikit_learn_fits_it(candidate):
    data = rows()
    problem = problem_of(data, candidate)
    fitted, _ = best_on_path(problem, data, PENALTIES.index(0.1))
    check_as_scikit_learn(problem, data, candidate, fitted)


@pytest.mark.parametrize("seed", range(3))
def test_fits_to_few_images_of_a_problem_end_as_near_to_their_minimum(seed):
    """The others only judge, as in the curve of how many images are enough."""
    data = rows(images=240, seed=seed, final=np.arange(240) < 24)
    problem = problem_of(data)
    start = without_features(problem, data)
    (fitted,) = fitted_at(problem, data, [PENALTIES.index(0.01)], start, TOLERANCE)
    check_as_scikit_learn(problem, data, ALL, fitted, rel=1.5e-3)


def test_all_columns_come_to_what_products_come_to():
    data = rows(images=90, views=2)
    few = problem_of(data)
    one, _ = best_on_path(few, data, PENALTIES.index(0.1))
    of_columns = np.repeat(ALL.weights(WIDTHS), WIDTHS)
    many = in_columns(standardised(data, "none").features, of_columns)
    other, _ = best_on_path(many, data, PENALTIES.index(0.1))
    assert one.number == other.number
    assert other.loss == pytest.approx(one.loss, rel=1e-3)
    np.testing.assert_allclose(
        many.kernel(other.weights[:-1, 0]), few.kernel(one.weights[:-1, 0]), atol=2e-2
    )


@pytest.mark.parametrize("start", [2, 6, 10, 14])
@pytest.mark.parametrize("most", [1, 2**22])
def test_from_anywhere_around_leads_to_where_a_path_leads(start, most, monkeypatch):
    monkeypatch.setattr(paths, "MOST_WEIGHTS", most)
    data = rows(signal=0.7, images=150)
    problem = problem_of(data)
    expected, _ = best_on_path(problem, data, 2, 1e-6)
    nothing = Fitted(start, without_features(problem, data), np.empty(0), np.nan)
    around = best_around(problem, data, nothing, 1e-6)
    found, tried = min(around, key=lambda each: each.loss), len(around)
    numbers = [each.number for each in around]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert abs(lowest_number(around) - found.number) <= 0.5
    assert found.number == expected.number
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)
    assert tried >= 3 + max(0, abs(found.number - start) - 1)
    np.testing.assert_allclose(found.logits, expected.logits, atol=5e-2)


def test_other_images_are_fitted_at_the_penalty_that_was_found():
    data = rows()
    problem = problem_of(data)
    fitted, _ = best_on_path(problem, data, PENALTIES.index(0.1))
    kernels, biases = fit_again(problem, data, fitted, data.learning)
    for fit in range(4):
        expected = problem.kernel(fitted.weights[:-1, fit])
        np.testing.assert_allclose(kernels[:, fit], expected, atol=2e-2)
        np.testing.assert_allclose(biases[fit], fitted.weights[-1, fit], atol=2e-2)


def test_the_last_cuts_alone_leave_zeros_for_the_others():
    data = rows()
    of_columns = np.repeat(LAST.weights(WIDTHS), WIDTHS)
    features = standardised(data, "none", first=16).features
    problem = in_columns(features, of_columns)
    kernel = problem.kernel(np.ones((4, 2)))
    assert not kernel[:16].any()
    np.testing.assert_allclose(kernel[16:], 0.5)


def test_the_walk_ends_in_the_valley_from_either_side():
    data = rows(signal=0.7, images=150)
    problem = problem_of(data)
    ends = {best_on_path(problem, data, start)[0].number for start in (2, 6, 10, 14)}
    assert len(ends) == 1
    best, tried = best_on_path(problem, data, 2)
    assert tried > abs(best.number - 2)
    for beside in (best.number - 1, best.number + 1):
        assert best_on_path(problem, data, beside)[0].loss == pytest.approx(best.loss, rel=1e-3)


def test_losses_are_those_of_the_metrics():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 2, 5)) * 20, rng.integers(0, 5, 40)
    probabilities = probabilities_of(logits)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    expected = cross_entropy(probabilities, labels)
    assert losses_of(logits, labels).mean() == pytest.approx(expected)

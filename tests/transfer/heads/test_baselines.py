"""Baselines: the same as scikit-learn's own, stopped and scored as they say."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from tests.transfer.heads.problems import problem, standardised_problem
from transfer.errors import InputError
from transfer.heads import baselines, descent, standardised
from transfer.heads.baselines import (
    Baseline,
    logistic_path,
    nearest_neighbours,
    ridge_path,
)
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.options import HeadOptions
from transfer.heads.samples import Samples
from transfer.heads.standardised import standardise
from transfer.metrics import SMALLEST_PROBABILITY, evaluate

SHAPES = [(300, 12, 4), (40, 60, 3), (150, 6, 2)]
"""Samples, features and classes: tall, wide, two classes."""


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def objective(data, kernel, bias, penalty):
    logits = data.features.astype(np.float64) @ kernel + bias
    of_truth = softmax(logits)[np.arange(len(logits)), data.labels]
    return -np.log(of_truth).sum() + penalty / 2 * np.square(kernel.astype(np.float64)).sum()


# Ridge


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 300.0])
def test_ridge_is_that_of_scikit_learn(shape, penalty):
    data = standardised_problem(*shape)
    path = ridge_path(data, [penalty])
    targets = np.eye(data.num_classes)[data.labels]
    theirs = Ridge(alpha=penalty).fit(data.features.astype(np.float64), targets)
    np.testing.assert_allclose(path.kernel, theirs.coef_.T, atol=1e-6)
    np.testing.assert_allclose(path.bias, theirs.intercept_, atol=1e-6)
    right = theirs.predict(data.val_features).argmax(1) == data.val_labels
    assert path.baselines == (Baseline("ridge", penalty, right.mean(), None),)
    assert path.best == path.baselines[0]
    assert path.gaps == (0.0,)


def test_ridge_needs_no_mean_of_its_own_rows():
    # Statistics of other rows leave the features off centre; the intercept makes up for it.
    train, labels, val, val_labels = problem()
    data = standardise(
        Samples(train, labels), Samples(val, val_labels), np.zeros(12), np.ones(12), 4
    )
    path = ridge_path(data, [10.0])
    theirs = Ridge(alpha=10.0).fit(train.astype(np.float64), np.eye(4)[labels])
    np.testing.assert_allclose(path.kernel, theirs.coef_.T, atol=1e-6)
    np.testing.assert_allclose(path.bias, theirs.intercept_, atol=1e-5)


def test_the_best_ridge_is_the_most_accurate_of_the_path():
    data = standardised_problem(60, 40, 3)
    penalties = [0.1, 100.0, 1e4]
    path = ridge_path(data, penalties)
    assert [each.setting for each in path.baselines] == [1e4, 100.0, 0.1]
    accuracies = [each.val_accuracy for each in path.baselines]
    assert len(set(accuracies)) > 1
    assert path.best == path.baselines[int(np.argmax(accuracies))]
    np.testing.assert_array_equal(path.kernel, ridge_path(data, [path.best.setting]).kernel)
    assert path.not_fitted == ()


def test_wide_ridge_is_the_same_without_a_decomposition(monkeypatch):
    penalties = [1.0, 30.0, 1000.0]
    exact = [ridge_path(standardised_problem(), [penalty]) for penalty in penalties]
    monkeypatch.setattr(standardised, "WIDEST", 8)
    data = standardised_problem()
    assert data.is_wide and data.spectrum.vectors.shape[1] < 8
    for penalty, expected in zip(penalties, exact, strict=True):
        path = ridge_path(data, [penalty])
        np.testing.assert_allclose(path.kernel, expected.kernel, atol=1e-3)
        np.testing.assert_allclose(path.bias, expected.bias, atol=1e-3)
        assert path.baselines == expected.baselines
        assert 0 < path.gaps[0] <= baselines.TOLERANCE


# Logistic regression


def theirs(data, penalty):
    scale = 2 if data.num_classes == 2 else 1
    model = LogisticRegression(C=scale / penalty, tol=1e-12, max_iter=100_000)
    return model.fit(data.features.astype(np.float64), data.labels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 100.0])
def test_logistic_regression_is_that_of_scikit_learn(shape, penalty):
    data = standardised_problem(*shape)
    path = logistic_path(data, [penalty], tolerance=1e-13)
    model = theirs(data, penalty)
    scale = max(1, abs(model.coef_).max())
    if data.num_classes == 2:
        np.testing.assert_allclose(np.diff(path.kernel)[:, 0], model.coef_[0], atol=1e-4 * scale)
        np.testing.assert_allclose(np.diff(path.bias), model.intercept_, atol=1e-4 * scale)
    else:
        np.testing.assert_allclose(path.kernel, model.coef_.T, atol=1e-4 * scale)
        between = path.bias - path.bias.mean()  # a constant added to all changes nothing
        np.testing.assert_allclose(between, model.intercept_, atol=1e-4 * scale)
    expected = model.predict_proba(data.val_features.astype(np.float64))
    np.testing.assert_allclose(
        softmax(data.val_features @ path.kernel + path.bias), expected, atol=1e-4
    )
    of_truth = expected[np.arange(len(expected)), data.val_labels]
    loss = -np.log(np.maximum(of_truth, SMALLEST_PROBABILITY)).mean()
    assert path.best.val_loss == pytest.approx(loss, abs=1e-4)
    assert path.best.val_accuracy == np.mean(expected.argmax(1) == data.val_labels)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_the_objective_ends_as_near_to_its_minimum_as_is_said(large, wide, monkeypatch):
    if large:
        monkeypatch.setattr(descent, "FEW_VALUES", 0)  # products in float32
    if wide:
        monkeypatch.setattr(standardised, "WIDEST", 8)  # directions from a few rows only
    data = standardised_problem(600, 20, 4)
    for penalty in (1.0, 1e3):
        path = logistic_path(data, [penalty])
        model = theirs(data, penalty)
        least = objective(data, model.coef_.T, model.intercept_, penalty)
        excess = objective(data, path.kernel, path.bias, penalty) / least - 1
        assert -1e-7 < excess < 1e-6
        # In float32 there may be no further step.
        assert 0 < path.gaps[0] <= (1e-7 if large else baselines.TOLERANCE)


def test_a_path_leads_to_where_single_fits_do():
    data = standardised_problem()
    penalties = np.logspace(2, -1, 7)
    path = logistic_path(data, penalties, patience=100)
    for baseline in path.baselines:
        alone = logistic_path(data, [baseline.setting]).best
        assert baseline.val_loss == pytest.approx(alone.val_loss, abs=2e-4)
    assert [each.setting for each in path.baselines[:7]] == pytest.approx(penalties)


def test_weak_penalties_are_left_out_once_validation_gets_worse():
    data = standardised_problem(80, 30, 3)
    whole = logistic_path(data, patience=1000)
    assert whole.not_fitted == ()
    least = min(each.val_loss for each in whole.baselines)
    for patience in (1, 3):
        path = logistic_path(data, patience=patience)
        fitted = [each.setting for each in path.baselines[:-1]]
        assert (*fitted, *path.not_fitted) == baselines.PENALTIES
        losses = np.array([each.val_loss for each in path.baselines[:-1]])
        assert len(losses) == losses.argmin() + 1 + patience < len(baselines.PENALTIES)
        assert path.best == whole.best
        assert path.best.val_loss == least  # none of those left out would have been better


def test_one_more_fit_lies_between_the_best_and_its_neighbours():
    data = standardised_problem(80, 30, 3)
    path = logistic_path(data, np.logspace(4, -2, 7))
    *grid, last = path.baselines
    best = int(np.argmin([each.val_loss for each in grid]))
    assert grid[best + 1].setting < last.setting < grid[best - 1].setting
    assert last.val_loss < grid[best].val_loss
    assert path.best == last
    alone = logistic_path(data, [last.setting])
    np.testing.assert_allclose(path.kernel, alone.kernel, atol=1e-3)


def test_the_vertex_of_a_parabola():
    def of(function, settings):
        return [Baseline("logistic", each, 0.5, function(math.log(each))) for each in settings]

    settings = [100.0, 10.0, 1.0, 0.1]
    around_3 = of(lambda x: (x - math.log(3)) ** 2, settings)
    assert baselines._lowest_between(around_3) == pytest.approx(3)
    uneven = of(lambda x: 1 + 5 * (x - math.log(3)) ** 2, [50.0, 4.0, 0.2])
    assert baselines._lowest_between(uneven) == pytest.approx(3)
    assert baselines._lowest_between(of(lambda x: x, settings)) is None
    assert baselines._lowest_between(of(lambda x: -x, settings)) is None
    assert baselines._lowest_between([Baseline("ridge", 1.0, 0.5, None)] * 3) is None


def test_the_kernel_fits_into_a_linear_head():
    train, labels, val, val_labels = problem()
    mean, variance = feature_statistics(train)
    data = standardise(Samples(train, labels), Samples(val, val_labels), mean, variance, 4)
    path = logistic_path(data, [100.0, 10.0, 1.0, 0.1])
    head = build_head(HeadOptions(), mean, variance, (12,), 4)
    head.get_layer("logits").set_weights([path.kernel, path.bias])
    probabilities = head.predict(val, verbose=0)
    model = theirs(data, path.best.setting)
    np.testing.assert_allclose(probabilities, model.predict_proba(data.val_features), atol=2e-3)
    scores = evaluate(probabilities, val_labels, list("abcd"), "val")
    assert path.best.val_loss == pytest.approx(scores.loss, abs=1e-5)
    assert path.best.val_accuracy == scores.accuracy


@pytest.mark.parametrize("fit", [ridge_path, logistic_path])
def test_predictions_are_averaged_over_views(fit):
    data = standardised_problem(views=3)
    path = fit(data, [10.0])
    assert data.val_labels.shape == (40,)
    outputs = data.val_features.astype(np.float64) @ path.kernel + path.bias
    outputs = (softmax(outputs) if fit is logistic_path else outputs).reshape(40, 3, 4).mean(1)
    assert path.best.val_accuracy == np.mean(outputs.argmax(1) == data.val_labels)
    if fit is logistic_path:
        loss = -np.log(outputs[np.arange(40), data.val_labels]).mean()
        assert path.best.val_loss == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("fit", [ridge_path, logistic_path])
def test_few_rows_of_one_class(fit):
    features, val = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    data = standardise(
        Samples(features, np.ones(2, int)), Samples(val, np.array([1, 0])), *np.ones((2, 3)), 2
    )
    path = fit(data)
    assert path.best.val_accuracy == 0.5
    assert np.isfinite(path.kernel).all() and np.isfinite(path.bias).all()


@pytest.mark.parametrize("fit", [ridge_path, logistic_path])
@pytest.mark.parametrize("penalties", [[], [1.0, 0.0], [-1.0], [math.inf], [math.nan]])
def test_bad_penalties_are_refused(fit, penalties):
    with pytest.raises(InputError, match="penalties expect numbers above 0, received"):
        fit(standardised_problem(), penalties)


# Neighbours


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_those_of_scikit_learn(metric, seed, monkeypatch):
    monkeypatch.setattr(baselines, "SEARCH_VALUES", 12 * 50)  # six blocks of 50 rows
    data = standardised_problem(seed=seed)
    scores = nearest_neighbours(data, [7, 1, 60, 2], metric)
    assert [each.setting for each in scores.baselines] == [1, 2, 7, 60]
    for baseline in scores.baselines:
        model = KNeighborsClassifier(baseline.setting, metric=metric, algorithm="brute")
        model.fit(data.features, data.labels)
        assert baseline.val_accuracy == model.score(data.val_features, data.val_labels)
        assert (baseline.name, baseline.val_loss) == ("neighbours", None)
    assert scores.best.val_accuracy == max(each.val_accuracy for each in scores.baselines)


def test_votes_are_averaged_over_views():
    data = standardised_problem(views=2)
    (baseline,) = nearest_neighbours(data, [5]).baselines
    model = KNeighborsClassifier(5, metric="cosine").fit(data.features, data.labels)
    shares = model.predict_proba(data.val_features)
    votes = np.rint(5 * shares).reshape(-1, 2, 4).sum(1)
    assert baseline.val_accuracy == np.mean(votes.argmax(1) == data.val_labels)


def test_more_neighbours_than_samples():
    data = standardised_problem(40, 60, 3)
    scores = nearest_neighbours(data)
    assert [each.setting for each in scores.baselines] == [1, 5, 10, 20]
    assert scores.too_many == (50,)
    for numbers in ([], [0, 3], [41]):
        with pytest.raises(InputError, match="numbers from 1 to 40, the training samples, rec"):
            nearest_neighbours(data, numbers)

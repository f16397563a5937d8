"""Distances, doubt and thresholds, beside scikit-learn's and scipy's."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors

from transfer.knowing.knowledge import (
    KNOWN_SHARE,
    MOST_BYTES,
    Knowledge,
    directions_of,
    doubt_of,
    learn,
    rows_that_fit,
)

CLASSES, CHANNELS = 4, 24


def images(seed, count=200, spread=0.15):
    """Features around one centre a class, and probabilities that are sure of it."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).gamma(1.0, size=(CLASSES, CHANNELS))
    labels = rng.integers(0, CLASSES, count)
    features = centres[labels] + spread * rng.normal(size=(count, CHANNELS))
    logits = rng.normal(0, 1, (count, CLASSES)) + 6 * np.eye(CLASSES)[labels]
    return features.astype(np.float32), softmax(logits, axis=1)


def names(count, kind="image"):
    return np.array([f"{kind}-{number}" for number in range(count)], object)


@pytest.fixture(scope="module")
def known():
    features, said = images(1)
    return learn(names(200), features, names(200), features, said)


def neighbours(knowledge, features, count):
    index = NearestNeighbors(n_neighbors=count).fit(knowledge.directions.astype(np.float64))
    return index.kneighbors(directions_of(features))


def test_nearest_images_are_scikit_learns(known):
    features, said = images(2, count=50)
    _, expected = neighbours(known, features, 3)
    assert np.array_equal(known.judge(said, features).nearest, expected)


def test_strangeness_is_fishers_sum_over_a_threshold_that_known_images_pass(known):
    features, said = images(1)
    distances, rows = neighbours(known, features, 2)
    assert np.array_equal(rows[:, 0], np.arange(200))
    own = distances[:, 1]  # each image is its own nearest
    doubts = -logsumexp(np.log(said) - np.log(said).mean(1, keepdims=True), axis=1)
    np.testing.assert_allclose(known.distance, [own.mean(), own.std()], rtol=1e-3)
    np.testing.assert_allclose(known.doubt, [doubts.mean(), doubts.std()], rtol=1e-6)
    tails = norm.logsf(own, *known.distance) + norm.logsf(doubts, *known.doubt)
    assert known.threshold == pytest.approx(np.sort(-tails)[int(KNOWN_SHARE * 199) + 1], rel=1e-2)
    assert np.mean(-tails <= known.threshold) == pytest.approx(KNOWN_SHARE, abs=0.01)
    new, said = images(3)
    distances, _ = neighbours(known, new, 1)
    tails = norm.logsf(distances[:, 0], *known.distance)
    tails += norm.logsf(doubt_of(said), *known.doubt)
    verdicts = known.judge(said, new)
    np.testing.assert_allclose(verdicts.strangeness, -tails / known.threshold, rtol=1e-2)
    assert np.array_equal(verdicts.unknown, verdicts.strangeness > 1)


def test_images_of_known_classes_are_known_and_others_are_not(known):
    features, said = images(3, count=400)
    assert known.judge(said, features).unknown.mean() < 0.1
    far = np.random.default_rng(4).gamma(1.0, size=(50, CHANNELS)).astype(np.float32)
    sure = np.tile(softmax(6 * np.eye(CLASSES)[0]), (50, 1))
    assert known.judge(sure, far).unknown.all()  # far away, however sure the classifier is
    unsure = np.full((400, CLASSES), 1 / CLASSES)
    assert known.judge(unsure, features).unknown.mean() > 0.9  # near, and in doubt


def test_what_is_kept_in_a_file_says_the_same_to_the_bit(known):
    back = Knowledge.from_bytes(known.to_bytes())
    features, said = images(5)
    ours, theirs = known.judge(said, features), back.judge(said, features)
    assert np.array_equal(ours.strangeness, theirs.strangeness)
    assert np.array_equal(ours.nearest, theirs.nearest)
    assert back.ids.tolist() == known.ids.tolist()
    assert back.judges == 200


@pytest.mark.parametrize("channels", [512, 1280, 2048])
def test_an_index_is_at_most_four_megabytes(channels):
    rows = rows_that_fit(channels)
    rng = np.random.default_rng(0)
    ids = np.array([f"{'a folder ' * 6}/{n}.jpg" for n in rng.integers(0, 1 << 60, rows)], object)
    features = rng.random((rows, channels), np.float32)
    made = learn(ids, features, ids[:2], features[:2], np.full((2, 3), 1 / 3))
    assert 0.7 * MOST_BYTES < len(made.to_bytes()) <= MOST_BYTES


def test_features_that_are_too_many_have_no_index():
    assert rows_that_fit(100_000) == 0


def test_odd_values_have_finite_answers():
    alike = np.ones((10, 3), np.float32)
    said = np.tile(np.array([1.0, 0, 0]), (10, 1))
    made = learn(names(10), alike, names(10, "other"), alike, said)
    blank = np.zeros((1, 3), np.float32)
    assert np.isfinite(made.judge(said[:1], blank).strangeness).all()
    assert made.judge(said[:1], blank).unknown.all()
    assert not made.judge(said[:1], alike[:1]).unknown.any()
    assert made.judge(said[:1], alike[:1], count=20).nearest.shape == (1, 10)


def test_nothing_to_judge_by_is_refused():
    features, said = images(1, count=5)
    with pytest.raises(ValueError, match="received 5 and 0"):
        learn(names(5), features, names(0), features[:0], said[:0])

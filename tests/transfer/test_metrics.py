"""transfer.metrics against hand counts, plain loops and scikit-learn's other functions."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    top_k_accuracy_score,
)

from transfer.metrics import calibration_error, evaluate, most_confused, standard_error

ANIMALS = ("cat", "dog", "horse")


def one_hot(predicted, num_classes=3):
    return np.eye(num_classes)[predicted]


@st.composite
def predictions(draw):
    """Random softmax outputs (float32, no ties) with random labels and any class empty."""
    num_classes = draw(st.integers(2, 9))
    rows = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = random.normal(0, 2, (rows, num_classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = random.integers(0, draw(st.integers(1, num_classes)), rows)
    return probabilities.astype(np.float32), labels, [f"class {i}" for i in range(num_classes)]


def test_hand_counted_example():
    labels = np.array([0, 0, 0, 1, 1, 2])
    result = evaluate(one_hot([0, 0, 1, 1, 2, 2]), labels, ANIMALS, "val")

    assert (result.split, result.num_images) == ("val", 6)
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.top5 is None
    np.testing.assert_array_equal(result.confusion, [[2, 1, 0], [0, 1, 1], [0, 0, 1]])
    cat, dog, horse = result.per_class
    assert (cat.class_name, cat.precision, cat.recall, cat.support) == ("cat", 1, 2 / 3, 3)
    assert cat.f1 == pytest.approx(0.8)
    assert (dog.precision, dog.recall, dog.f1, dog.support) == (0.5, 0.5, 0.5, 2)
    assert (horse.precision, horse.recall, horse.support) == (0.5, 1, 1)
    # Two certain and wrong answers cost the clipping limit each, the right ones nothing.
    assert result.loss == pytest.approx(2 / 6 * -np.log(1e-7))


def test_loss_is_in_nats():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    result = evaluate(probabilities, np.array([0, 0]), ["no", "yes"], "test")
    assert result.loss == pytest.approx((np.log(2) + np.log(4)) / 2)


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_agrees_with_scikit_learn_and_plain_counting(case):
    probabilities, labels, names = case
    result = evaluate(probabilities, labels, names, "test")
    predicted = probabilities.argmax(axis=1)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)

    assert result.accuracy == pytest.approx(accuracy_score(labels, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that classes were predicted which nothing is of
        balanced = balanced_accuracy_score(labels, predicted)
    assert result.balanced_accuracy == pytest.approx(balanced)
    assert result.loss == pytest.approx(log_loss(labels, exact, labels=range(len(names))), abs=1e-5)
    if len(names) < 6:
        assert result.top5 is None
    else:
        expected = top_k_accuracy_score(labels, probabilities, k=5, labels=range(len(names)))
        assert result.top5 == pytest.approx(expected)
        assert result.top5 >= result.accuracy
    for i, scores in enumerate(result.per_class):
        hits = sum(t == p == i for t, p in zip(labels, predicted, strict=True))
        actual, claimed = sum(labels == i), sum(predicted == i)
        assert scores.support == actual
        assert scores.recall == pytest.approx(hits / actual if actual else 0)
        assert scores.precision == pytest.approx(hits / claimed if claimed else 0)
        assert scores.f1 == pytest.approx(2 * hits / (actual + claimed) if hits else 0)


@settings(max_examples=40, deadline=None)
@given(predictions(), st.randoms(use_true_random=False))
def test_confusion_accounts_for_every_image_and_order_does_not_matter(case, random):
    probabilities, labels, names = case
    result = evaluate(probabilities, labels, names, "test")
    assert result.confusion.sum() == result.num_images == len(labels)
    assert np.trace(result.confusion) == round(result.accuracy * len(labels))
    np.testing.assert_array_equal(
        result.confusion.sum(axis=1), np.bincount(labels, minlength=len(names))
    )
    np.testing.assert_array_equal(
        result.confusion.sum(axis=0),
        np.bincount(probabilities.argmax(axis=1), minlength=len(names)),
    )

    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = evaluate(probabilities[order], labels[order], names, "test")
    np.testing.assert_array_equal(shuffled.confusion, result.confusion)
    assert shuffled.loss == pytest.approx(result.loss)


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_json_is_strict_and_complete(case):
    result = evaluate(*case, "test")
    read = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert read["accuracy"] == result.accuracy
    assert read["top5"] == result.top5
    assert read["confusion"] == result.confusion.tolist()
    assert [scores["class_name"] for scores in read["per_class"]] == case[2]
    assert set(read["per_class"][0]) == {"class_name", "precision", "recall", "f1", "support"}


def test_certain_mistakes_and_empty_classes_stay_finite_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(one_hot([1, 1]), np.array([0, 0]), ANIMALS, "test")
        json.dumps(result.to_json(), allow_nan=False)
    assert result.loss == pytest.approx(-np.log(1e-7))
    horse = result.per_class[2]
    assert (horse.precision, horse.recall, horse.f1, horse.support) == (0, 0, 0, 0)


def test_ties_are_broken_alike_for_accuracy_and_top5():
    uniform = np.full((8, 8), 1 / 8)
    result = evaluate(uniform, np.arange(8), [str(i) for i in range(8)], "test")
    assert result.accuracy == 1 / 8
    assert result.top5 == 5 / 8


def test_half_precision_is_accepted():
    result = evaluate(np.array([[0.3333, 0.6667]], np.float16), np.array([1]), ["a", "b"], "test")
    assert result.accuracy == 1
    assert result.loss == pytest.approx(-np.log(2 / 3), abs=1e-3)


def test_most_confused_lists_mistakes_by_frequency():
    labels = np.array([0] * 5 + [1] * 4 + [2] * 3)
    predicted = np.array([0, 1, 1, 1, 2, 1, 0, 0, 0, 2, 1, 2])
    result = evaluate(one_hot(predicted), labels, ANIMALS, "test")
    ranked = [("cat", "dog", 3), ("dog", "cat", 3), ("cat", "horse", 1), ("horse", "dog", 1)]
    assert most_confused(result) == ranked
    assert most_confused(result, count=1) == ranked[:1]
    assert result.confusion[0, 0] == 1, "the evaluation itself must not change"


def test_most_confused_of_a_perfect_classifier_is_empty():
    assert most_confused(evaluate(one_hot([0, 1, 2]), np.arange(3), ANIMALS, "test")) == []


GOOD = one_hot([0, 1])


@pytest.mark.parametrize(
    ("probabilities", "labels", "names", "words"),
    [
        (GOOD, [0, 1], ["cat", "dog"], ["(rows, 2)", "(2, 3)"]),
        (GOOD[0], [0], ANIMALS, ["(rows, 3)", "(3,)"]),
        (GOOD[:0], [], ANIMALS, ["at least one row", "(0, 3)"]),
        (GOOD[:, :1], [0, 0], ["cat"], ["at least 2 class names", "received 1"]),
        (GOOD, [0, 1, 2], ANIMALS, ["(2,)", "(3,)"]),
        (GOOD, [[0], [1]], ANIMALS, ["(2,)", "(2, 1)"]),
        (GOOD, [0.0, 1.0], ANIMALS, ["integer", "float64"]),
        (GOOD, [0, 3], ANIMALS, ["0 to 2", "0 to 3"]),
        (GOOD, [-1, 1], ANIMALS, ["0 to 2", "-1 to 1"]),
        (np.array([[1, 0, 0], [0, np.nan, 0]]), [0, 1], ANIMALS, ["NaN", "1 of 2", "row 1"]),
        (np.array([[1, 0, 0], [0, np.inf, 0]]), [0, 1], ANIMALS, ["finite", "row 1"]),
        (np.array([[4.0, -2, 1], [0, 1, 0]]), [0, 1], ANIMALS, ["softmax", "-2 to 4"]),
        (GOOD * 0.5, [0, 1], ANIMALS, ["sum to 1", "0.5"]),
    ],
)
def test_bad_input_says_expected_and_received(probabilities, labels, names, words):
    with pytest.raises(ValueError, match=r"expected .*received") as caught:
        evaluate(probabilities, np.array(labels), names, "test")
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_calibration_error_is_what_confidence_is_off_by():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 20_000)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    right = (rng.random(20_000) > sure).astype(int)  # right as often as it says
    assert calibration_error(probabilities, right) < 0.01
    wrong = (rng.random(20_000) > sure - 0.2).astype(int)
    assert calibration_error(probabilities, wrong) == pytest.approx(0.2, abs=0.01)
    assert calibration_error(np.array([[0.0, 1.0]]), np.array([1])) == 0


def test_calibration_error_counts_bins_by_their_images():
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.6, 0.4]])
    labels = np.array([0, 0, 1, 1])
    assert calibration_error(probabilities, labels) == pytest.approx((3 * 0.9 - 2 + 0.6) / 4)


def test_the_error_is_that_of_a_mean():
    values = np.random.default_rng(0).gamma(2.0, size=37)
    assert standard_error(values) == pytest.approx(stats.sem(values))
    assert standard_error(values[:1]) == np.inf

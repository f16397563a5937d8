"""transfer.comparing against enumeration, simulation and scipy's other functions."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from transfer.comparing import compare, holm, mcnemar, paired_interval, paired_t

counts = st.integers(0, 200)


def said(rights, labels, surest=0.8):
    """Probabilities of three classes whose most probable one is right where that is asked."""
    classes = np.where(rights, labels, (labels + 1) % 3)
    probabilities = np.full((len(labels), 3), (1 - surest) / 2)
    probabilities[np.arange(len(labels)), classes] = surest
    return probabilities


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_mcnemar_is_what_all_ways_to_fall_come_to(number):
    falls = [sum(coins) for coins in product((0, 1), repeat=number)]
    for count in range(number + 1):
        off = abs(count - number / 2)
        as_uneven = sum(abs(fall - number / 2) >= off for fall in falls)
        assert mcnemar(count, number - count) == pytest.approx(as_uneven / 2**number)


@given(counts, counts)
def test_mcnemar_does_not_care_who_comes_first(one, other):
    p = mcnemar(one, other)
    assert 0 < p <= 1
    assert p == pytest.approx(mcnemar(other, one))
    if one == other:
        assert p == 1


@given(counts, counts, counts)
def test_the_interval_holds_the_difference_and_turns_with_the_two(one, other, agreeing):
    images = one + other + agreeing + 1
    low, high = paired_interval(one, other, images)
    assert -1 <= low <= (one - other) / images <= high <= 1
    assert low < high
    assert paired_interval(other, one, images) == pytest.approx((-high, -low))


@pytest.mark.parametrize("shares", [(0.5, 0.1, 0.2, 0.2), (0.9, 0.05, 0.03, 0.02)])
@pytest.mark.parametrize("images", [30, 200])
def test_the_interval_is_of_95_percent(shares, images):
    draws = np.random.default_rng(0).multinomial(images, shares, 2000)
    intervals = np.array([paired_interval(one, other, images) for _, one, other, _ in draws])
    truth = shares[1] - shares[2]
    covered = ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()
    assert 0.94 <= covered <= 0.995


def test_students_test_is_that_of_scipy():
    differences = np.random.default_rng(0).normal(0.1, 0.4, 60)
    assert paired_t(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert paired_t(-differences) == paired_t(differences)


@pytest.mark.parametrize(
    ("differences", "p"),
    [([0.0, 0.0], 1), ([0.3], 1), ([0.3, 0.3, 0.3], 0.25), ([-0.3] * 9, 1 / 256)],
)
def test_few_images_are_no_proof(differences, p):
    assert paired_t(np.array(differences)) == p


def test_holm_by_its_steps():
    # The smallest times 4, the next times 3, ...; never less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02]) == [0.02]
    assert holm([0.6, 0.9]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_refuses_what_stepping_down_refuses(values):
    corrected = holm(values)
    ranked = sorted(range(len(values)), key=lambda at: values[at])
    assert all(corrected[one] <= corrected[next_] for one, next_ in pairwise(ranked))
    for alpha in (0.01, 0.05, 0.5):
        refused = set()
        for step, at in enumerate(ranked):
            if values[at] * (len(values) - step) > alpha:
                break
            refused.add(at)
        assert {at for at, p in enumerate(corrected) if p <= alpha} == refused


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_counts_and_differences_of_two(rights):
    one, other = (np.array(column) for column in zip(*rights, strict=True))
    labels = np.arange(len(rights)) % 3
    found = compare(said(one, labels), said(other, labels, 0.6), labels)
    assert found.both_right == sum(a and b for a, b in rights)
    assert found.first_right == sum(a and not b for a, b in rights)
    assert found.second_right == sum(b and not a for a, b in rights)
    assert found.num_images == len(rights)
    assert found.accuracy_difference == pytest.approx(one.mean() - other.mean())
    losses = np.where(one, -math.log(0.8), -math.log(0.1)) - np.where(
        other, -math.log(0.6), -math.log(0.2)
    )
    assert found.loss_difference == pytest.approx(losses.mean())
    turned = compare(said(other, labels, 0.6), said(one, labels), labels)
    assert turned.accuracy_difference == -found.accuracy_difference
    assert turned.loss_difference == pytest.approx(-found.loss_difference)
    assert (turned.first_right, turned.second_right) == (found.second_right, found.first_right)
    assert turned.accuracy_p == pytest.approx(found.accuracy_p)
    assert turned.loss_p == pytest.approx(found.loss_p)


def test_a_model_and_itself_do_not_differ():
    labels = np.arange(9) % 3
    same = said(labels > 0, labels)
    found = compare(same, same, labels)
    assert (found.first_right, found.second_right, found.both_wrong) == (0, 0, 3)
    assert (found.accuracy_difference, found.loss_difference) == (0, 0)
    assert (found.accuracy_p, found.loss_p) == (1, 1)

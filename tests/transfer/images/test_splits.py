"""Splits: where a row goes depends on nothing but its class and id."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transfer.errors import InputError
from transfer.images.splits import assign

CLASSES = ("cats", "dogs")


def split_of(ids, labels, given=None, val=0.2, test=0.2):
    given = np.full(len(ids), "train") if given is None else np.array(given)
    return assign(np.array(ids, object), np.array(labels), CLASSES, given, val, test)


def many(count=2000):
    return [f"{i:05}.jpg" for i in range(count)], np.arange(count) % 2


def test_a_row_goes_where_its_hash_says():
    ids, labels = many(200)
    split = split_of(ids, labels, val=0.1, test=0.3)
    for id, label, found in zip(ids, labels, split, strict=True):
        number = int(hashlib.sha256(f"{CLASSES[label]}\0{id}".encode()).hexdigest()[:16], 16)
        share = Fraction(number, 2**64)
        expected = "test" if share < Fraction(3, 10) else "val" if share < Fraction(4, 10) else None
        assert found == (expected or "train")


@given(st.sets(st.text("abcé/0", min_size=1, max_size=6), min_size=40, max_size=80), st.data())
@settings(max_examples=40, deadline=None)
def test_adding_images_moves_no_other(ids, data):
    ids = sorted(ids)
    labels = [len(id) % 2 for id in ids]
    kept = sorted(data.draw(st.sets(st.sampled_from(range(len(ids))), min_size=30)))
    try:
        full = split_of(ids, labels)
        part = split_of([ids[i] for i in kept], [labels[i] for i in kept])
    except InputError:
        assume(False)
    np.testing.assert_array_equal(part, full[kept])


def test_proportions_hold_in_each_class():
    ids, labels = many(10_000)
    split = split_of(ids, labels, val=0.1, test=0.2)
    for label in (0, 1):
        shares = {
            name: np.mean(split[labels == label] == name) for name in ("train", "val", "test")
        }
        # Five standard deviations of a share among 5,000 are at most 0.035.
        assert abs(shares["val"] - 0.1) < 0.035
        assert abs(shares["test"] - 0.2) < 0.035
        assert abs(shares["train"] - 0.7) < 0.035


def test_given_test_rows_stay_and_val_is_carved_from_train_only():
    ids, labels = many(400)
    given = np.where(np.arange(400) < 300, "train", "test")
    split = split_of(ids, labels, given, val=0.25, test=0.4)
    np.testing.assert_array_equal(split[300:], "test")
    assert set(split[:300]) == {"train", "val"}
    assert 0.1 < np.mean(split[:300] == "val") < 0.4


@pytest.mark.parametrize("last", ["val", "test"])
def test_nothing_is_carved_where_val_is_given(last):
    ids, labels = many(100)
    given = np.array(["train"] * 60 + ["val"] * 20 + [last] * 20)
    np.testing.assert_array_equal(split_of(ids, labels, given), given)


def test_fraction_zero_carves_nothing():
    ids, labels = many(100)
    assert set(split_of(ids, labels, val=0, test=0)) == {"train"}


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5), (float("nan"), 0)])
def test_fractions_out_of_range(val, test):
    ids, labels = many(10)
    with pytest.raises(InputError, match="together less than 1"):
        split_of(ids, labels, val=val, test=test)


def test_a_class_without_training_rows_is_named():
    ids, labels = many(100)
    given = np.where(np.array(labels) == 1, "test", "train")
    with pytest.raises(InputError, match="'dogs' has none"):
        split_of(ids, labels, given)


def test_no_validation_row_says_what_to_do():
    ids, labels = many(6)
    with pytest.raises(InputError, match="raise it") as caught:
        split_of(ids, labels, val=1e-9, test=0)
    assert "\n" not in str(caught.value)

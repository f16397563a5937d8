"""Splits and folds: exact shares of each class, by hashes, so that few images ever move."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.errors import InputError
from transfer.images.splits import assign, assign_folds, classes_without

CLASSES = ("cats", "dogs")
LARGE = 100
"""Images of a class that always has some for validation, beside the classes that a test is about:
without any, validation is refused."""


def split_of(ids, labels, given=None, val=0.2, test=0.2, classes=CLASSES, groups=None):
    given = np.full(len(ids), "train") if given is None else np.array(given)
    groups = None if groups is None else np.array(groups, object)
    return assign(np.array(ids, object), np.array(labels), classes, given, val, test, groups)


def folds_of(ids, labels, classes, num_folds, groups=None):
    groups = None if groups is None else np.array(groups, object)
    return assign_folds(np.array(ids, object), np.array(labels), classes, num_folds, groups)


def of_sizes(sizes, start=0):
    """Ids, labels and class names of classes with so many images."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    ids = np.array([f"{start + row:05}.jpg" for row in range(len(labels))], object)
    return ids, labels, tuple(f"class {label}" for label in range(len(sizes)))


def many(count=2000):
    return [f"{i:05}.jpg" for i in range(count)], np.arange(count) % 2


def shares():
    """Fractions of val and test with two decimals, together below 1."""
    pairs = st.tuples(st.integers(1, 60), st.integers(0, 60))
    return pairs.filter(lambda pair: sum(pair) < 100).map(
        lambda pair: (pair[0] / 100, pair[1] / 100)
    )


# ---- shares


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), shares())
@settings(max_examples=100, deadline=None)
def test_shares_of_each_class_are_exact_to_the_image(sizes, shares):
    val, test = shares
    ids, labels, classes = of_sizes([LARGE, *sizes])
    split = split_of(ids, labels, val=val, test=test, classes=classes)
    for label, size in enumerate([LARGE, *sizes]):
        for name, share in (("val", val), ("test", test), ("train", 1 - val - test)):
            count = np.sum(split[labels == label] == name)
            exact = Fraction(round(share * 100), 100) * size
            assert math.floor(exact) <= count <= math.ceil(exact)
            assert count >= 1 or name != "train"


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.7])
@pytest.mark.parametrize("tens", [1, 3, 10])
def test_whole_shares_are_whole(fraction, tens):
    # 10 * 0.7 and 30 * 0.1 are not whole in binary fractions.
    ids, labels, classes = of_sizes([10 * tens] * 30)
    split = split_of(ids, labels, val=fraction, test=0, classes=classes)
    counts = np.bincount(labels[split == "val"], minlength=30)
    assert set(counts) == {round(10 * fraction) * tens}


@pytest.mark.parametrize("dither", [0, 2**64 - 1])
def test_whole_shares_are_whole_whatever_the_dither(dither, monkeypatch):
    from transfer.images.draws import draw

    monkeypatch.setattr(
        "transfer.images.splits.draw", lambda *words: draw(*words) if words[1:] else dither
    )
    ids, labels, classes = of_sizes([10, 30, 100, 1000])
    for val, test in ((0.1, 0.7), (0.7, 0.2), (0.2, 0.1), (0.6, 0.3), (0.3, 0.3)):
        split = split_of(ids, labels, val=val, test=test, classes=classes)
        for name, share in (("val", val), ("test", test)):
            counts = np.bincount(labels[split == name], minlength=4)
            assert counts.tolist() == [round(share * size) for size in (10, 30, 100, 1000)]


def test_many_small_classes_have_their_share_on_average():
    ids, labels, classes = of_sizes([4] * 2000)
    split = split_of(ids, labels, val=0.1, test=0.15, classes=classes)
    # 0.4 and 0.6 of an image a class; five standard deviations of 2,000 draws are 110.
    assert abs(np.sum(split == "val") - 800) < 110
    assert abs(np.sum(split == "test") - 1200) < 110
    assert set(np.bincount(labels[split == "val"])) == {0, 1}


def test_the_first_by_hash_are_for_the_test_and_the_next_for_validation():
    ids, labels = many(200)
    split = split_of(ids, labels, val=0.1, test=0.3)
    for label, name in enumerate(CLASSES):
        of_class = [id for id, one in zip(ids, labels, strict=True) if one == label]
        order = sorted(
            of_class, key=lambda id: hashlib.sha256(f"{name}\0{id}".encode()).hexdigest()
        )
        expected = dict.fromkeys(order, "train") | dict.fromkeys(order[:40], "val")
        expected |= dict.fromkeys(order[:30], "test")
        found = dict(zip(ids, split, strict=True))
        assert {id: found[id] for id in of_class} == expected


# ---- stability


@given(st.integers(1, 60), shares(), st.text("abcé/0", min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_an_image_more_moves_two_others_at_most_and_none_of_another_class(size, shares, name):
    ids, labels, classes = of_sizes([LARGE, size, 7])
    before = split_of(ids, labels, val=shares[0], test=shares[1], classes=classes)
    more = [*ids, name], [*labels, 1]
    after = split_of(*more, val=shares[0], test=shares[1], classes=classes)[:-1]
    moved = before != after
    assert np.sum(moved) <= 2
    assert set(labels[moved]) <= {1}
    if all("val" in split[labels == 1] for split in (before, after)):  # it lies between the others
        assert not np.any((before == "test") & (after == "train"))
        assert not np.any((before == "train") & (after == "test"))


@given(st.permutations(range(60)), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_order_of_rows_does_not_matter(order, grouped):
    ids, labels, classes = of_sizes([20, 25, 15])
    groups = np.array([f"g{row % 13}" for row in range(60)], object) if grouped else None
    order = np.array(order)
    shuffled = None if groups is None else groups[order]
    split = split_of(ids, labels, classes=classes, groups=groups)
    np.testing.assert_array_equal(
        split_of(ids[order], labels[order], classes=classes, groups=shuffled), split[order]
    )
    folds = folds_of(ids, labels, classes, 4, groups)
    np.testing.assert_array_equal(
        folds_of(ids[order], labels[order], classes, 4, shuffled), folds[order]
    )


# ---- small classes, given splits, mistakes


def test_forty_classes_of_one_image_beside_two_large_ones():
    ids, labels, classes = of_sizes([50, 50, *[1] * 40])
    split = split_of(ids, labels, val=0.1, test=0.1, classes=classes)
    assert set(split[100:]) == {"train"}
    for label in (0, 1):
        assert np.sum(split[labels == label] == "val") == 5
        assert np.sum(split[labels == label] == "test") == 5
    assert classes_without(split == "val", labels, classes) == classes[2:]


def test_given_test_rows_stay_and_val_is_carved_from_train_only():
    ids, labels = many(400)
    given = np.where(np.arange(400) < 300, "train", "test")
    split = split_of(ids, labels, given, val=0.25, test=0.4)
    np.testing.assert_array_equal(split[300:], "test")
    for label in (0, 1):  # of 150 each
        assert np.sum(split[:300][labels[:300] == label] == "val") in (37, 38)
    assert set(split[:300]) == {"train", "val"}


@pytest.mark.parametrize("last", ["val", "test"])
@pytest.mark.parametrize("groups", [None, ["one"] * 100])
def test_nothing_is_carved_where_val_is_given(last, groups):
    ids, labels = many(100)
    given = np.array(["train"] * 60 + ["val"] * 20 + [last] * 20)
    np.testing.assert_array_equal(split_of(ids, labels, given, groups=groups), given)


def test_fraction_zero_carves_nothing():
    ids, labels = many(100)
    assert set(split_of(ids, labels, val=0, test=0)) == {"train"}


@pytest.mark.parametrize(
    ("val", "test"),
    [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5), (float("nan"), 0), (0, float("inf")), (0.9, 0.1)],
)
def test_fractions_out_of_range(val, test):
    ids, labels = many(10)
    with pytest.raises(InputError, match="together less than 1"):
        split_of(ids, labels, val=val, test=test)


def test_a_class_without_training_rows_is_named():
    ids, labels = many(100)
    given = np.where(np.array(labels) == 1, "test", "train")
    with pytest.raises(InputError, match="received none of 'dogs'") as caught:
        split_of(ids, labels, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("groups", [None, ["one"] * 6])
def test_no_validation_row_says_what_to_do(groups):
    ids, labels = many(6)
    with pytest.raises(InputError, match="raise it") as caught:
        split_of(ids, labels, val=0.2 if groups else 1e-9, test=0, groups=groups)
    assert "\n" not in str(caught.value)
    assert ("in 1 groups" in str(caught.value)) == bool(groups)


# ---- groups


@st.composite
def grouped(draw):
    """Ids, labels, class names and groups; most groups are of one class, some of several."""
    num_classes = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels, groups = [], []
    for group in range(draw(st.integers(2, 60))):
        size, main = rng.integers(1, draw(st.integers(2, 9))), rng.integers(num_classes)
        mixed = rng.random() < 0.2
        labels += [rng.integers(num_classes) if mixed else main for _ in range(size)]
        groups += [f"group {group}"] * size
    _, labels = np.unique(labels, return_inverse=True)
    ids = np.array([f"{row:05}.jpg" for row in range(len(labels))], object)
    classes = tuple(f"class {label}" for label in range(labels.max() + 1))
    return ids, labels, classes, np.array(groups, object)


def sides_of(groups, split):
    """The sides that each group is on."""
    return [set(split[groups == group]) for group in set(groups)]


@given(grouped(), shares())
@settings(max_examples=100, deadline=None)
def test_a_group_is_on_one_side_and_every_class_trains(case, shares):
    ids, labels, classes, groups = case
    # A class of single images, so that there is validation.
    more, _, _ = of_sizes([LARGE], start=90_000)
    ids, groups = np.concatenate([ids, more]), np.concatenate([groups, more])
    labels = np.concatenate([labels, np.full(LARGE, len(classes))])
    classes = (*classes, "single")
    split = split_of(ids, labels, val=shares[0], test=shares[1], classes=classes, groups=groups)
    assert all(len(sides) == 1 for sides in sides_of(groups, split))
    assert not classes_without(split == "train", labels, classes)
    for name, share in zip(("val", "test"), shares, strict=True):
        assert abs(np.sum(split[labels == len(classes) - 1] == name) - share * LARGE) < 1


@given(st.lists(st.integers(1, 9), min_size=3, max_size=60), shares())
@settings(max_examples=100, deadline=None)
def test_shares_are_within_half_the_largest_group(sizes, shares):
    """Of groups of one class, of which more than one stays in training."""
    val, test = shares
    groups = np.repeat([f"group {number}" for number in range(len(sizes))], sizes)
    ids, labels, classes = of_sizes([len(groups), LARGE])
    all_groups = np.concatenate([groups, ids[len(groups) :]])
    split = split_of(ids, labels, val=val, test=test, classes=classes, groups=all_groups)
    split = split[: len(groups)]
    if len(set(groups[split == "train"])) > 1:
        for name, share in (("val", val), ("test", test)):
            # One more for rounding up or down where the share is no whole number.
            assert abs(np.sum(split == name) - share * len(groups)) <= max(sizes) / 2 + 1


def test_groups_of_one_image_are_as_good_as_none():
    ids, labels, classes = of_sizes([37, 23, 5, 1])
    single, none = (split_of(ids, labels, classes=classes, groups=g) for g in (ids, None))
    for label in range(4):
        for name in ("train", "val", "test"):
            counts = [np.sum(split[labels == label] == name) for split in (single, none)]
            assert counts[0] == counts[1]


def test_a_group_that_is_all_of_a_class_stays_in_training():
    ids, labels, classes = of_sizes([40, 40, 40])
    groups = [*[f"camera {row % 8}" for row in range(80)], *["the only one"] * 40]
    split = split_of(ids, labels, val=0.25, test=0.25, classes=classes, groups=groups)
    assert set(split[80:]) == {"train"}
    assert {name: np.sum(split == name) for name in ("val", "test")} == {"val": 20, "test": 20}


def test_given_splits_may_separate_a_group():
    ids, labels = many(40)
    given = ["test"] * 4 + ["train"] * 36
    groups = np.array([f"group {row // 8}" for row in range(40)], object)
    split = split_of(ids, labels, given, groups=groups)
    assert set(split[:4]) == {"test"}
    assert all(len(sides) == 1 for sides in sides_of(groups[4:], split[4:]))
    assert set(split[4:]) == {"train", "val"}


# ---- folds


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(2, 10), st.booleans())
@settings(max_examples=100, deadline=None)
def test_folds_have_their_share_of_each_class(sizes, num_folds, single):
    ids, labels, classes = of_sizes(sizes)
    folds = folds_of(ids, labels, classes, num_folds, ids if single else None)
    assert folds.dtype == np.int64
    for label, size in enumerate(sizes):
        of_class = folds[labels == label]
        if size == 1:
            assert set(of_class) == {-1}
            continue
        counts = np.bincount(of_class, minlength=num_folds)  # raises where one is -1
        assert len(counts) == num_folds
        assert counts.max() - counts.min() <= 1
        assert counts.max() < size  # all other rows are for training
    counts = np.bincount(folds[folds >= 0], minlength=num_folds)
    if not single:
        assert counts.max() - counts.min() <= 1


@given(grouped(), st.integers(2, 6))
@settings(max_examples=100, deadline=None)
def test_folds_keep_groups_together_and_leave_training_rows(case, num_folds):
    ids, labels, classes, groups = case
    folds = folds_of(ids, labels, classes, num_folds, groups)
    assert all(len(sides) == 1 for sides in sides_of(groups, folds))
    assert set(folds) <= {*range(-1, num_folds)}
    for fold in range(num_folds):
        assert not classes_without(folds != fold, labels, classes)
    for label in range(len(classes)):
        of_class = groups[labels == label]
        if len(set(of_class)) == 1:
            assert set(folds[labels == label]) == {-1}


def test_equal_groups_make_equal_folds():
    ids, labels, classes = of_sizes([40, 60])
    groups = [f"clip {row // 5}" for row in range(100)]
    folds = folds_of(ids, labels, classes, 4, groups)
    for label, each in enumerate((10, 15)):
        assert np.bincount(folds[labels == label]).tolist() == [each] * 4


def test_folds_are_dealt_out_by_hash():
    ids, labels, classes = of_sizes([5, 3])
    folds = folds_of(ids, labels, classes, 2)
    for label, starts in enumerate((0, 1)):  # the second class goes on where the first ended
        order = sorted(
            np.flatnonzero(labels == label),
            key=lambda row: hashlib.sha256(f"{classes[labels[row]]}\0{ids[row]}".encode()).digest(),
        )
        assert [int(folds[row]) for row in order] == [
            (starts + place) % 2 for place in range(len(order))
        ]


def test_one_fold_is_no_cross_validation():
    with pytest.raises(InputError, match="at least 2"):
        folds_of(*of_sizes([4, 4]), 1)

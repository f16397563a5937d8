"""Which images two models are compared on, and what is too far apart."""

from dataclasses import replace

import numpy as np
import pytest

from tests.transfer.exporting.small_exports import image_set
from transfer.errors import InputError
from transfer.exporting.agreement import (
    BATCH,
    MOST_IMAGES,
    compare,
    probabilities_of,
    rows_to_compare,
    why_refused,
)


def test_validation_comes_first_and_test_images_never():
    split = np.repeat(["test", "train", "val"], [1000, 1000, 120])
    rows = rows_to_compare(split)
    assert len(rows) == MOST_IMAGES == len(set(rows))
    assert np.all(np.diff(rows) > 0)
    assert set(np.flatnonzero(split == "val")) <= set(rows)
    assert np.sum(split[rows] == "train") == MOST_IMAGES - 120
    assert {1000, 1999} <= set(rows)  # from all over them


def test_many_validation_images_are_thinned_out_and_few_images_all_taken():
    many = rows_to_compare(np.repeat(["val", "train"], [2000, 10]))
    assert len(many) == MOST_IMAGES and many.max() == 1999
    few = np.array(["val", "test", "train", "train"])
    assert rows_to_compare(few).tolist() == [0, 2, 3]


class Means:
    """Says of each image its mean colours, and notes what it was given."""

    def __init__(self):
        self.shapes = []

    def predict(self, batch):
        self.shapes.append(batch.shape)
        return batch.mean((1, 2))


def test_images_come_in_batches_of_one_size():
    images, means = image_set(rows=BATCH + 3), Means()
    got = probabilities_of(means, images)
    np.testing.assert_allclose(got, images.source.mean((1, 2)))
    assert means.shapes == [(BATCH, 20, 15, 3), (3, 20, 15, 3)]


def test_an_image_that_cannot_be_decoded_is_named():
    class Broken:
        sequential = False

        def readers(self, members):
            yield from (lambda: b"none" for _ in members)

    with pytest.raises(InputError, match="000"):
        probabilities_of(Means(), replace(image_set(), source=Broken()))


def two(right, rows=100):
    """Probabilities of two classes, of which so many rows are right."""
    sure = np.where(np.arange(rows) < right, 0.9, 0.2)
    return np.stack([sure, 1 - sure], axis=1)


LABELS, VAL = np.zeros(100, int), np.full(100, "val")


def test_figures_of_an_agreement():
    split = np.repeat(["val", "train"], [80, 20])
    found = compare(two(90), two(75), LABELS, split)
    assert (found.images, found.judged, found.split) == (100, 80, "val")
    assert found.largest_difference == pytest.approx(0.7)
    assert found.equal_top1 == pytest.approx(0.85)
    assert (found.accuracy_before, found.accuracy_after) == (1.0, 75 / 80)
    assert found.standard_error == 1 / 80
    assert compare(two(90), two(90), LABELS, np.full(100, "train")).split == "train"
    error = compare(two(90), two(75), LABELS, VAL).standard_error
    assert error == pytest.approx((0.9 * 0.1 / 99) ** 0.5)


@pytest.mark.parametrize(("right", "refused"), [(90, False), (88, False), (86, True)])
def test_less_precision_may_cost_a_standard_error(right, refused):
    reason = why_refused(compare(two(90), two(right), LABELS, VAL), "int8")
    assert (reason is not None) == refused
    assert not refused or "from 0.9000 to 0.8600" in reason


def test_one_image_of_a_perfect_accuracy_may_be_lost():
    assert why_refused(compare(two(100), two(99), LABELS, VAL), "int8") is None
    assert "a standard error, 0.0100" in why_refused(
        compare(two(100), two(98), LABELS, VAL), "int8"
    )


@pytest.mark.parametrize(("by", "refused"), [(5e-4, False), (2e-3, True), (np.nan, True)])
def test_float32_must_give_the_same_probabilities(by, refused):
    found = compare(two(90), two(90) + by, LABELS, VAL)
    assert (why_refused(found, "float32") is not None) == refused

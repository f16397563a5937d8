"""Who judges which head: folds, validation images, or splits that were given."""

import numpy as np
import pytest

from pipelines.heads import choosing
from pipelines.heads.choosing import plan_of


def split_of(train, val, test=10):
    return np.repeat(["test", "train", "val"], [test, train, val])


def test_few_images_are_cross_validated_and_learned_from_together():
    plan = plan_of(split_of(100, 30), is_given=False, refit=False)
    np.testing.assert_array_equal(plan.rows, np.arange(10, 140))
    np.testing.assert_array_equal(plan.training, np.arange(130) < 100)
    assert plan.final.all() and not plan.holdout
    assert "30 for validation would be few" in plan.in_words(130)


def test_of_many_images_the_validation_images_judge(monkeypatch):
    monkeypatch.setattr(choosing, "MANY", 1000)
    plan = plan_of(split_of(900, 200), is_given=False, refit=False)
    assert plan.holdout and plan.final.all() and len(plan.rows) == 1100
    assert "200 validation images" in plan.in_words(200)
    # Too few of them: folds, however many images there are.
    assert not plan_of(split_of(1000, 199), is_given=False, refit=False).holdout


@pytest.mark.parametrize("val", [199, 200])
def test_a_split_that_was_given_is_not_learned_from(val):
    plan = plan_of(split_of(300, val), is_given=True, refit=False)
    assert plan.holdout == (val >= 200)
    # It judges if it is large enough; else it takes no part.
    assert len(plan.rows) == (500 if plan.holdout else 300)
    np.testing.assert_array_equal(plan.final, plan.training)
    refitted = plan_of(split_of(300, val), is_given=True, refit=True)
    assert refitted.final.all() and len(refitted.rows) == 300 + val


def test_it_is_said_of_a_few_validation_images_that_they_are_few_and_of_none_nothing():
    given = plan_of(split_of(300, 30), is_given=True, refit=False)
    assert "30 for validation would be few" in given.in_words(300)
    assert "for validation" not in plan_of(split_of(300, 0), False, False).in_words(300)

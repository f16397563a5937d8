"""Which fits learn from which images, and by which an image is judged."""

import numpy as np
import pytest

from tests.transfer.choosing.problems import rows
from transfer.errors import InputError


def test_each_image_is_judged_by_a_fit_that_has_not_seen_it():
    data = rows()
    for image, fit in enumerate(data.judge):
        assert not data.learning[image, fit]
        assert data.learning[image].sum() == 3
    np.testing.assert_array_equal(data.judging, np.arange(60))


def test_images_that_judge_nothing_are_learned_from_by_all_folds():
    folds = np.arange(60) % 4 - 1
    data = rows(folds=folds)
    assert data.learning[folds < 0].all()
    np.testing.assert_array_equal(data.judging, np.flatnonzero(folds >= 0))


def test_a_holdout_is_judged_by_the_fit_to_the_training_split():
    data = rows(holdout=True)
    np.testing.assert_array_equal(data.judging, np.flatnonzero(~data.training))
    np.testing.assert_array_equal(data.learning[:, 0], data.training)
    assert data.learning.shape[1] == 1


def test_what_is_not_to_be_learned_in_the_end_is_learned_by_no_fold():
    training = np.arange(60) % 5 > 0
    assert not rows(training=training, final=training).learning[~training].any()


def test_targets_repeat_over_views_and_hide_what_is_not_learned():
    data = rows(views=2)
    targets = data.targets(data.learning)
    assert targets.shape == (120, 4)
    np.testing.assert_array_equal(targets[0::2], targets[1::2])
    np.testing.assert_array_equal(targets[::2] >= 0, data.learning)


def test_logits_out_of_fold_are_those_of_the_judge():
    data = rows(views=2, folds=3)
    logits = np.random.default_rng(0).normal(size=(120, 3, 3))
    chosen = data.out_of_fold(logits)
    assert chosen.shape == (60, 2, 3)
    for image in (0, 17, 59):
        for view in range(2):
            expected = logits[2 * image + view, data.folds[image]]
            np.testing.assert_array_equal(chosen[image, view], expected)


def test_some_of_the_rows_keep_their_views():
    data = rows(views=3)
    some = data.some(np.array([1, 4]))
    np.testing.assert_array_equal(some.features, data.features[[3, 4, 5, 12, 13, 14]])
    np.testing.assert_array_equal(some.labels, data.labels[[1, 4]])


def test_refusals():
    with pytest.raises(ValueError, match="expected features, folds"):
        rows(folds=np.zeros(3, int))
    with pytest.raises(InputError, match="two images"):
        rows(folds=np.full(60, -1))

"""Batches: every row once an epoch, in orders that the seed and the epoch decide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.batches import FeatureBatches, ShuffledBatches


def epoch_of(batches):
    return [batches.chosen(index).tolist() for index in range(len(batches))]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_every_epoch_holds_every_row_once(num_rows, batch_size, seed, epoch):
    batches = ShuffledBatches(num_rows, batch_size, seed, epoch)
    for _ in range(2):
        order = epoch_of(batches)
        assert {len(rows) for rows in order[:-1]} <= {batch_size}
        assert sorted(np.concatenate(order)) == list(range(num_rows))
        batches.on_epoch_end()


def test_epochs_differ_and_a_resumed_run_draws_what_an_uninterrupted_one_does():
    batches = ShuffledBatches(100, 16, seed=3)
    epochs = []
    for _ in range(4):
        epochs.append(epoch_of(batches))
        batches.on_epoch_end()
    assert len({str(order) for order in epochs}) == 4
    assert epoch_of(ShuffledBatches(100, 16, seed=3, epoch=2)) == epochs[2]
    assert epoch_of(ShuffledBatches(100, 16, seed=4)) != epochs[0]


def test_without_a_seed_rows_come_in_order():
    batches = ShuffledBatches(10, 4)
    batches.on_epoch_end()
    assert epoch_of(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("seed", [None, 7])
def test_features_and_targets_stay_together(seed):
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    batches = FeatureBatches(features, features.sum(1), 8, seed)
    read = [batches[index] for index in range(len(batches))]
    assert [len(rows) for rows, _ in read] == [8] * 6 + [2]
    for rows, targets in read:
        np.testing.assert_array_equal(rows.sum(1), targets)
    rows = np.concatenate([rows for rows, _ in read])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(features, axis=0))

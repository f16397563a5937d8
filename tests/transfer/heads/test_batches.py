"""Batches: every row once an epoch, in orders that the seed and the epoch decide."""

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transfer.heads.test_features import File
from transfer.heads.batches import FeatureBatches, ShuffledBatches, StreamedBatches, feature_batches


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


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_features_of_any_width_come_as_float32(dtype):
    features = np.arange(40, dtype=dtype).reshape(20, 2)
    for source in (features, File(20, 1, dtype).stored(np.arange(20))):
        batch, _ = feature_batches(source, np.zeros(20), 8)[1]
        assert batch.dtype == np.float32
    np.testing.assert_array_equal(feature_batches(features, np.zeros(20), 8)[1][0], features[8:16])


def read_epoch(batches):
    read = [batches[index] for index in range(len(batches))]
    return np.concatenate([rows for rows, _ in read]), np.concatenate([goal for _, goal in read])


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("features")]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.booleans(), min_size=1, max_size=120).filter(any),
    st.integers(1, 3),
    st.none() | st.integers(1, 40),
    st.integers(1, 2000),
    st.integers(1, 50),
    st.none() | st.integers(0, 2**32 - 1),
)
def test_every_epoch_streams_every_sample_once_with_its_target(
    split, views, block_rows, buffer_bytes, batch_size, seed
):
    file, rows = File(len(split), views), np.flatnonzero(split)
    stored = file.stored(rows, block_rows=block_rows, buffer_bytes=buffer_bytes)
    expected = file.samples(rows)
    assert stored.shape == expected.shape and len(stored) == len(expected)
    batches = StreamedBatches(stored, expected[:, 0], batch_size, seed)
    for _ in range(2):
        assert len(batches) == -(-len(expected) // batch_size)
        assert len(batches[0][0]) == min(batch_size, len(expected))
        features, targets = read_epoch(batches)
        np.testing.assert_array_equal(features[:, 0], targets)
        order = np.argsort(targets) if seed is not None else slice(None)
        np.testing.assert_array_equal(features[order], expected)
        batches.on_epoch_end()
    assert max(file.asked) * 8 * views <= max(buffer_bytes, 8 * views)
    np.testing.assert_array_equal(np.concatenate(list(stored.blocks())), expected)


def test_orders_of_streams_differ_by_epoch_and_seed_alone():
    rows = np.arange(3, 203)
    stored = File(210).stored(rows, block_rows=5, buffer_bytes=400)
    one, two, other = (StreamedBatches(stored, rows, 16, seed) for seed in (3, 3, 4))
    orders = []
    for _ in range(3):
        orders.append(read_epoch(one)[1].tolist())
        assert read_epoch(two)[1].tolist() == orders[-1]
        assert read_epoch(other)[1].tolist() != orders[-1]
        for batches in (one, two, other):
            batches.on_epoch_end()
    assert len({str(order) for order in orders}) == 3


def test_blocks_and_the_rows_in_a_buffer_are_shuffled():
    # 100 blocks of 5 in buffers of 10 blocks: each buffer holds rows from all over the file.
    stored = File(500).stored(np.arange(500), block_rows=5, buffer_bytes=10 * 5 * 8)
    order = read_epoch(StreamedBatches(stored, np.arange(500), 50, seed=0))[1].reshape(10, 50)
    for buffer in order:
        assert len(np.unique(buffer // 5)) == 10
        assert np.ptp(buffer) > 250
        assert (np.abs(np.diff(buffer)) == 1).sum() < 15


def test_no_buffer_is_much_smaller_than_the_others():
    # 33 blocks, of which 32 fit: a last buffer of one block would be of one class.
    file = File(33 * 5)
    stored = file.stored(np.arange(33 * 5), block_rows=5, buffer_bytes=32 * 5 * 8)
    read_epoch(StreamedBatches(stored, np.arange(33 * 5), 7, seed=0))
    assert file.asked == [17 * 5, 16 * 5]


def test_any_batch_may_be_asked_for_at_any_time():
    stored = File(300, views=2).stored(np.arange(0, 300, 2), block_rows=4, buffer_bytes=500)
    batches = StreamedBatches(stored, np.arange(300), 9, seed=1)
    expected = [batches[index] for index in range(len(batches))]
    for index in np.random.default_rng(0).integers(0, len(batches), 100).tolist():
        for received, wanted in zip(batches[index], expected[index], strict=True):
            np.testing.assert_array_equal(received, wanted)


@pytest.mark.parametrize("batch_size", [7, 50, 130])
def test_no_more_than_two_buffers_are_held(batch_size):
    file = File(1000)
    stored = file.stored(np.arange(1000), block_rows=10, buffer_bytes=100 * 8)
    batches = StreamedBatches(stored, np.arange(1000), batch_size, seed=0)
    for _ in range(3):
        read_epoch(batches)
        batches.on_epoch_end()
    assert file.asked == [100] * 30
    assert file.most_rows_held <= 200


@pytest.mark.parametrize("buffers", [2, 5])
@pytest.mark.parametrize("batches_read", [1, 20])
def test_no_epoch_uses_the_buffers_of_another(buffers, batches_read):
    file = File(100)
    stored = file.stored(np.arange(100), block_rows=5, buffer_bytes=100 // buffers * 8)
    batches = StreamedBatches(stored, np.arange(100), 5, seed=0)
    for _ in range(3):
        for index in range(batches_read):
            features, rows = batches[index]
            np.testing.assert_array_equal(features, file.values[rows])
        batches.on_epoch_end()


def test_the_next_buffer_is_read_meanwhile_and_the_thread_ends_with_the_epoch():
    others = set(reading_threads())  # which Keras keeps where a fit failed
    file = File(30)
    batches = StreamedBatches(
        file.stored(np.arange(30), block_rows=10, buffer_bytes=80), np.arange(30), 5
    )
    batches[0]
    deadline = time.monotonic() + 20
    while len(file.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert file.asked == [10, 10]
    batches.on_epoch_end()
    assert others.issuperset(reading_threads())
    batches[0]
    assert not others.issuperset(reading_threads())
    del batches
    gc.collect()
    while not others.issuperset(reading_threads()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert others.issuperset(reading_threads())


def test_what_fits_into_one_buffer_is_read_once():
    file = File(30)
    batches = StreamedBatches(file.stored(np.arange(30), block_rows=4), np.arange(30), 8, seed=0)
    orders = set()
    for _ in range(3):
        features, targets = read_epoch(batches)
        np.testing.assert_array_equal(features, file.values[targets])
        orders.add(str(targets))
        batches.on_epoch_end()
    assert file.asked == [30]
    assert len(orders) == 3

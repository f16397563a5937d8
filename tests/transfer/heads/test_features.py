"""Features: stored in a file or held in memory, block by block, and their statistics."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transfer.heads.batches import feature_batches
from transfer.heads.features import StoredFeatures, feature_blocks, feature_statistics


class File:
    """Stands in for a file of features; every value in it is another."""

    def __init__(self, num_rows, views=1, dtype=np.float32, width=2):
        shape = (num_rows, width) if views == 1 else (num_rows, views, width)
        self.values = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
        self.views, self.width = views, width
        self.asked, self.most_rows_held, self._held = [], 0, []

    def read(self, rows):
        assert rows.dtype == np.int64 and len(rows) and (np.diff(rows) > 0).all()
        held = [array for reference in self._held if (array := reference()) is not None]
        self.most_rows_held = max(self.most_rows_held, sum(map(len, held)) + len(rows))
        self.asked.append(len(rows))
        values = self.values[rows]
        self._held.append(weakref.ref(values))
        return values

    def stored(self, rows, **sizes):
        return StoredFeatures(self.read, rows, (self.width,), self.views, **sizes)

    def samples(self, rows):
        return self.values[rows].reshape(-1, self.width)


def test_by_default_a_buffer_holds_many_blocks():
    stored = File(8).stored(np.arange(8))
    assert stored.rows_per_block == 2**22 // 8
    wide = StoredFeatures(stored.read, np.arange(50_000), (7104,), buffer_bytes=2**26)
    assert wide.rows_per_block == 2**21 // (4 * 7104)
    assert 30 < wide.num_blocks / wide.num_buffers < 34
    assert StoredFeatures(stored.read, np.arange(8), (7104,), buffer_bytes=1).rows_per_block == 1


def test_blocks_of_arrays_and_of_files_are_consecutive():
    file, rows = File(2500, views=2), np.arange(0, 2500, 2)
    stored = file.stored(rows, block_rows=100)
    for features in (file.samples(rows), stored):
        blocks = list(feature_blocks(features))
        assert max(map(len, blocks)) <= 1024
        np.testing.assert_array_equal(np.concatenate(blocks), file.samples(rows))
    assert max(file.asked) == 100


@pytest.mark.parametrize(
    "values", [{"views": 0}, {"block_rows": 0}, {"buffer_bytes": 0}, {"rows": np.array([2, 1])}]
)
def test_impossible_stored_features_are_refused(values):
    with pytest.raises(ValueError, match="stored features expect"):
        StoredFeatures(**{"read": len, "rows": np.arange(3), "sample_shape": (2,), **values})


def test_rows_of_another_shape_and_missing_targets_are_refused():
    stored = StoredFeatures(File(9).read, np.arange(9), (3,))
    with pytest.raises(ValueError, match=r"expected shape \(9, 3\), received \(9, 2\)"):
        next(stored.blocks())
    with pytest.raises(ValueError, match="18 targets, one a sample, received 9"):
        feature_batches(File(9, views=2).stored(np.arange(9)), np.zeros(9), 4)


RNG = np.random.default_rng(0)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 40), st.integers(1, 4)),
        elements=st.floats(-1000, 1000, width=32),
    )
)
def test_statistics_equal_those_of_numpy(features):
    mean, variance = feature_statistics(features)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-5, atol=1e-3)
    dead = exact.var(0) < 1e-10 * max(1, exact.var(0).max())
    np.testing.assert_allclose(variance[~dead], exact.var(0)[~dead], rtol=1e-3, atol=1e-6)


def test_statistics_over_space_and_blocks():
    features = RNG.normal(100, 0.1, (3000, 2, 2, 3)).astype(np.float32)
    mean, variance = feature_statistics(features)
    exact = features.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(0), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("views", [1, 3])
def test_statistics_of_features_on_disk(dtype, views):
    file = RNG.normal(100, 1, (900, views, 4)).astype(dtype)
    rows = np.flatnonzero(RNG.random(900) < 0.8)
    exact = file[rows].reshape(-1, 4).astype(np.float64)
    values = file if views > 1 else file[:, 0]
    stored = StoredFeatures(values.__getitem__, rows, (4,), views, block_rows=64)
    for features in (stored, values[rows].reshape(-1, 4)):
        mean, variance = feature_statistics(features)
        assert mean.dtype == variance.dtype == np.float32
        np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
        np.testing.assert_allclose(variance, exact.var(0), rtol=1e-5)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        feature_statistics(np.empty((0, 4), np.float32))

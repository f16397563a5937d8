"""Standardised features and their spectrum."""

import numpy as np
import pytest

from tests.transfer.heads.problems import problem
from transfer.errors import InputError
from transfer.heads import standardised
from transfer.heads.features import feature_statistics
from transfer.heads.samples import Samples
from transfer.heads.standardised import decompose, standardise


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_features_are_standardised_in_blocks(dtype, monkeypatch):
    monkeypatch.setattr(standardised, "BLOCK_VALUES", 50)
    train, labels, val, val_labels = problem()
    train, val = train.astype(dtype), val.astype(dtype)
    mean, variance = feature_statistics(train)
    data = standardise(Samples(train, labels), Samples(val, val_labels), mean, variance, 4)
    assert data.features.dtype == data.val_features.dtype == np.float32
    expected = (train.astype(np.float64) - mean) / np.sqrt(variance.astype(np.float64))
    np.testing.assert_allclose(data.features, expected, atol=1e-5)
    np.testing.assert_allclose(data.features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(data.features.std(0), 1, atol=1e-3)


def test_bad_data_is_refused():
    train, labels, val, val_labels = problem()
    statistics = feature_statistics(train)
    with pytest.raises(InputError, match="received 300 and 0 samples"):
        standardise(Samples(train, labels), Samples(val[:0], val_labels[:0]), *statistics, 4)
    with pytest.raises(ValueError, match=r"received \[\(300, 12\), \(120, 11\)"):
        standardise(Samples(train, labels), Samples(val[:, 1:], val_labels), *statistics, 4)
    with pytest.raises(ValueError, match="labels from 0 to 2, received 0 to 3"):
        standardise(Samples(train, labels), Samples(val, val_labels), *statistics, 3)
    with pytest.raises(ValueError, match="integer labels, received float64"):
        standardise(Samples(train, labels + 0.0), Samples(val, val_labels + 0.0), *statistics, 4)
    with pytest.raises(ValueError, match="7 views each, received 120"):
        standardise(Samples(train, labels), Samples(val, val_labels, 7), *statistics, 4)
    train[7, 3] = np.nan
    with pytest.raises(InputError, match="NaN or infinity in samples 0 to 299"):
        standardise(Samples(train, labels), Samples(val, val_labels), *statistics, 4)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20), (30, 1), (1, 30)])
@pytest.mark.parametrize("seed", range(3))
def test_the_spectrum_is_that_of_the_centred_features(shape, seed, monkeypatch):
    monkeypatch.setattr(standardised, "BLOCK_VALUES", 60)
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=shape) * rng.uniform(0.1, 3, shape[1]) + 2).astype(np.float32)
    features[:, : shape[1] // 3] = features[:, -1:]  # some are copies: the rank is lower
    spectrum = decompose(features)
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    singular = np.linalg.svd(centred, compute_uv=False)
    rank = int((singular > 1e-5).sum())
    assert len(spectrum.eigenvalues) == rank
    np.testing.assert_allclose(spectrum.eigenvalues[::-1], singular[:rank] ** 2, rtol=1e-8)
    vectors = spectrum.vectors
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(rank), atol=1e-9)
    rebuilt = (vectors * spectrum.eigenvalues) @ vectors.T
    np.testing.assert_allclose(rebuilt, centred.T @ centred, atol=1e-8 * max(1, singular[0] ** 2))

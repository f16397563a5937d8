"""Standardising with a floor: what hardly varies does not count like what varies."""

import numpy as np
import pytest

from tests.transfer.choosing.problems import WIDTHS, rows
from transfer.choosing.standardising import FLOOR, standardised
from transfer.heads.transforms import SOFTNESS, transformed


@pytest.mark.parametrize("transform", ["none", "root"])
@pytest.mark.parametrize("first", [0, WIDTHS[0]])
def test_each_cut_has_a_floor_of_its_own(transform, first):
    data = rows(images=500)
    done = standardised(data, transform, first)
    expected = transformed(data.features[:, first:], transform).astype(float)
    ends = np.cumsum(WIDTHS) - first
    for width, end in zip(WIDTHS, ends, strict=True):
        if end > 0:
            cut = slice(end - width, end)
            variance = expected[:, cut].var(0)
            with_floor = (variance + FLOOR * variance.mean()) / (1 + FLOOR)
            np.testing.assert_allclose(done.variance[cut], with_floor, rtol=1e-4)
    standard = (expected - expected.mean(0)) / np.sqrt(done.variance)
    np.testing.assert_allclose(done.features, standard, atol=1e-4)
    assert np.square(done.features).mean() == pytest.approx(1, rel=0.1)


def test_one_huge_feature_does_not_hide_the_others():
    data = rows(images=500)
    features = data.features.copy()
    features[:, 0] *= 10_000
    done = standardised(rows(images=500, features=features), "none").features
    assert done[:, 1 : WIDTHS[0]].std(0).min() > 0.02
    assert done[:, 0].std() == pytest.approx(np.sqrt(1 + FLOOR), rel=0.1)


def test_what_never_changes_is_zero():
    data = rows()
    features = data.features.copy()
    features[:, : WIDTHS[0]] = 3.0  # a whole cut
    features[:, -1] = 0.0
    done = standardised(rows(features=features), "none")
    assert not done.features[:, : WIDTHS[0]].any() and not done.features[:, -1].any()
    assert np.isfinite(done.features).all()


def test_roots_keep_signs_and_are_soft_at_zero():
    values = np.array([[-4.0, -1e-9, 0.0, 1e-9, 9.0]], np.float16)
    rooted = transformed(values, "root")
    assert rooted.dtype == np.float32
    np.testing.assert_allclose(rooted[0, [0, 2, 4]], [-2, 0, 3], rtol=2e-3)
    steep = transformed(np.float32([[1e-6]]), "root")[0, 0] / 1e-6
    assert steep == pytest.approx(1 / np.sqrt(SOFTNESS), rel=1e-2)

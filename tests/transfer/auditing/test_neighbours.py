"""The nearest neighbours of all images, against sorting all products."""

import numpy as np
import pytest

from transfer.auditing.neighbours import nearest
from transfer.knowing.knowledge import directions_of


@pytest.mark.parametrize(("images", "block"), [(2, 8), (50, 64), (97, 16), (200, 23)])
def test_they_are_those_of_sorting_all_products_whatever_the_blocks(images, block):
    rng = np.random.default_rng(images)
    units = directions_of(rng.normal(size=(images, 12)))
    found = nearest(units, count=5, block=block)
    products = units.astype(np.float64) @ units.T
    np.fill_diagonal(products, -np.inf)
    order = np.argsort(-products, axis=1, kind="stable")[:, : min(5, images - 1)]
    assert found.rows.tolist() == order.tolist()
    np.testing.assert_allclose(
        found.similarity, np.take_along_axis(products, order, axis=1), atol=1e-6
    )


def test_copies_are_found_over_the_bounds_of_blocks():
    features = np.random.default_rng(0).normal(size=(120, 6))
    features[[7, 61, 118]] = features[3]
    found = nearest(directions_of(features), count=3, block=20)
    for row in (3, 7, 61, 118):
        assert {row, *found.rows[row].tolist()} == {3, 7, 61, 118}
        assert found.similarity[row] == pytest.approx(1)


def test_directions_keep_signs_and_have_length_1_but_for_nothing():
    units = directions_of(np.array([[4.0, -9.0], [0.0, 0.0], [16.0, 0.0]], np.float16))
    np.testing.assert_allclose(units[0], np.array([2, -3]) / np.sqrt(13), rtol=1e-6)
    assert units[1].tolist() == [0, 0] and units[2].tolist() == [1, 0]
    assert units.dtype == np.float32


def test_it_says_how_far_it_is():
    said = []
    nearest(directions_of(np.eye(30)), count=2, report=lambda *done: said.append(done), block=10)
    assert said == [(done, 6) for done in range(1, 7)]

"""Features in two dimensions."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from transfer.knowing.knowledge import directions_of
from transfer.knowing.maps import COMPONENTS, LEAST, neighbours_map, principal_components


def groups(count=40, channels=80):
    rng = np.random.default_rng(0)
    centres = rng.gamma(1.0, size=(3, channels))
    labels = np.repeat(np.arange(3), count)
    return centres[labels] + 0.2 * rng.random((len(labels), channels)), labels


def test_components_are_those_of_an_svd():
    features, _ = groups()
    units = directions_of(features).astype(float)
    made = principal_components(features)
    left, lengths, _ = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    assert made.shape == (120, COMPONENTS)
    np.testing.assert_allclose(
        np.abs(made[:, :5]), np.abs(left[:, :5] * lengths[:5]), rtol=1e-3, atol=1e-6
    )


def test_neighbours_of_a_map_are_of_one_group():
    features, labels = groups()
    places = neighbours_map(principal_components(features))
    assert places.shape == (120, 2)
    _, near = NearestNeighbors(n_neighbors=6).fit(places).kneighbors(places)
    assert (labels[near] == labels[:, None]).mean() > 0.95


@pytest.mark.parametrize(("images", "channels"), [(LEAST, 30), (12, 3)])
def test_few_images_or_features_are_no_error(images, channels):
    features = np.random.default_rng(1).random((images, channels))
    components = principal_components(features)
    assert components.shape[1] == min(images, channels)
    assert np.isfinite(neighbours_map(components)).all()

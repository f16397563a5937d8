"""Samples: views follow one another, streamed or not, and means are taken image by image."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import FeatureFile
from pipelines.samples import read_samples
from tests.cache.test_cache import features_of, make
from tests.cache.test_spec import SPEC
from transfer.heads.features import feature_blocks
from transfer.heads.samples import Samples

GIB = 2**30
SHAPES = {"one": (2, 3), "two": (2, 4)}
ROWS = [np.array([0, 2, 3, 149]), np.array([1, 5])]


@pytest.fixture
def features(tmp_path):
    spec = dataclasses.replace(SPEC, views=("identity", "flip"))
    with FeatureFile(make(tmp_path, shapes=SHAPES, spec=spec)) as file:
        yield file


@pytest.mark.parametrize("cuts, width", [((), 7), (("two",), 4)])
@pytest.mark.parametrize("budget", [1.0, 100 / GIB])
def test_views_follow_one_another(features, cuts, width, budget, capsys):
    for samples, rows in zip(read_samples(features, ROWS, cuts, budget), ROWS, strict=True):
        both = features_of(rows, SHAPES)
        expected = np.concatenate([both[cut] for cut in cuts or SHAPES], -1).reshape(-1, width)
        assert samples.features.shape == expected.shape
        found = np.concatenate(list(feature_blocks(samples.features)))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(samples.image_labels, rows % 2)
        np.testing.assert_array_equal(samples.labels, np.repeat(rows % 2, 2))
        assert isinstance(samples.features, np.ndarray) == (budget == 1.0)
    assert ("streamed" in capsys.readouterr().out) == (budget != 1.0)


def test_means_are_taken_over_the_views_of_one_image():
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    samples = Samples(np.zeros((8, 1), np.float32), labels, views=2)
    np.testing.assert_array_equal(samples.image_labels, [0, 1, 0, 1])
    outputs = np.array([[0.0, 1], [1, 0], [0.2, 0.8], [0.4, 0.6], [1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_allclose(
        samples.mean_over_views(outputs), [[0.5, 0.5], [0.3, 0.7], [1, 0], [0, 1]]
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(0, 9), st.integers(1, 4), st.integers(0, 1000))
def test_one_label_and_one_mean_an_image(views, images, width, seed):
    rng = np.random.default_rng(seed)
    of_images = rng.integers(0, 5, images)
    outputs = rng.normal(size=(images, views, width))
    samples = Samples(np.zeros((images * views, 3)), np.repeat(of_images, views), views)
    np.testing.assert_array_equal(samples.image_labels, of_images)
    found = samples.mean_over_views(outputs.reshape(-1, width))
    expected = [[one[:, unit].mean() for unit in range(width)] for one in outputs]
    np.testing.assert_allclose(found, np.reshape(expected, (images, width)), atol=1e-12)


def test_one_view_is_its_own_mean():
    samples = Samples(np.zeros((3, 2)), np.array([2, 0, 1]))
    outputs = np.array([[0.1, 0.9], [0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_array_equal(samples.mean_over_views(outputs), outputs)
    assert samples.image_labels.tolist() == [2, 0, 1]

"""Stand-ins give what the layers of Keras give that they stand for."""

import keras
import numpy as np
import pytest

from tests.transfer.exporting.small_exports import images
from transfer.exporting.layers import FixedNormalization, MatmulResizing


@pytest.mark.parametrize("wanted", [(32, 32), (7, 40), (1, 1)])
def test_resizing_is_that_of_keras(wanted):
    ours = MatmulResizing(*wanted, name="ours")
    theirs = keras.layers.Resizing(*wanted, antialias=True, dtype="float32")
    for batch in images(((5, 9), (32, 32), (120, 33), (64, 300), (1, 2)), count=2):
        expected = theirs(batch.astype(np.float32))
        got = keras.ops.convert_to_numpy(ours(batch))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=2e-3)  # of 255


def test_normalization_is_that_of_keras():
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(0, 9, 6), rng.uniform(0, 3, 6)
    variance[2] = 0  # a feature that is always the same
    theirs = keras.layers.Normalization(mean=mean, variance=variance)
    x = rng.normal(0, 9, (5, 6)).astype(np.float32)
    expected = theirs(x)
    np.testing.assert_array_equal(FixedNormalization(theirs)(x), expected)

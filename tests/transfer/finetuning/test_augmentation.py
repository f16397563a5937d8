"""Augmentation: of training images only."""

import keras
import numpy as np
import pytest

from tests.transfer.finetuning.small_classifier import image_set
from transfer.errors import InputError
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers

NO_CHANGE = AugmentOptions(flip=False, shift=0, crop=0, colour=0)


def test_augmentation_changes_training_images_only():
    layers = augmentation_layers(AugmentOptions(), seed=0)
    assert len(layers) == 5
    pixels = image_set().source[:8].astype("float32")
    for layer in layers:
        np.testing.assert_allclose(np.asarray(layer(pixels, training=False)), pixels, atol=1e-3)
        moved = np.asarray(layer(pixels, training=True))
        assert np.abs(moved - pixels).max() > 1
        assert moved.min() >= -1e-3
        assert moved.max() <= 255.001
    assert augmentation_layers(NO_CHANGE, seed=0) == []
    with pytest.raises(InputError, match="--shift"):
        AugmentOptions(shift=1.5)
    assert keras.backend.image_data_format() == "channels_last"

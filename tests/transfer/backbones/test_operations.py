"""Multiply-adds, beside published counts and ones by hand."""

import keras
import pytest
from keras import layers

from transfer.backbones.operations import multiply_adds


def test_layers_are_counted_as_by_hand():
    model = keras.Sequential(
        [
            layers.Input((16, 12, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same"),  # 8 x 6 places
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(5, padding="same"),
            layers.SeparableConv2D(10, 3, padding="same"),
            layers.Conv2D(20, 1, groups=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(7),
        ]
    )
    places = 8 * 6
    expected = places * (3 * 3 * 3 * 8 + 5 * 5 * 8 + 3 * 3 * 8 + 8 * 10 + 5 * 20) + 20 * 7
    assert multiply_adds(model) == expected
    nested = keras.Sequential([layers.Input((16, 12, 3)), model])
    assert multiply_adds(nested) == expected


def test_mobilenet_v2_has_as_many_as_published():
    # Source: Sandler et al., "MobileNetV2", 2018, table 4: 300 million.
    model = keras.applications.MobileNetV2(weights=None)
    assert multiply_adds(model) == pytest.approx(300e6, rel=0.01)

"""Windows: which grey values become black and white, against an independent computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.errors import InputError
from transfer.images.levels import NoFullRangeError, check_window, to_bytes

VALUES = st.lists(st.integers(0, 65535), min_size=2, max_size=40)


@given(VALUES, st.integers(-10, 3000), st.integers(1, 60000))
@settings(max_examples=50, deadline=None)
def test_a_span_is_black_below_white_above_and_straight_between(values, low, width):
    levels = to_bytes(np.array(values, np.uint16), f"{low}:{low + width}")
    expected = [round(min(1, max(0, (value - low) / width)) * 255) for value in values]
    assert levels.dtype == np.uint8 and levels.tolist() == expected


@given(VALUES)
@settings(max_examples=50, deadline=None)
def test_minmax_is_the_span_of_the_image_itself(values):
    levels = to_bytes(np.array(values, np.uint16), "minmax")
    if min(values) == max(values):
        assert not levels.any()
    else:
        np.testing.assert_array_equal(
            levels, to_bytes(np.array(values, np.uint16), f"{min(values)}:{max(values)}")
        )
        assert levels.min() == 0 and levels.max() == 255


def test_percentile_lets_one_bright_speck_of_many_not_darken_the_rest():
    values = np.r_[np.arange(1000), 65535].astype(np.uint16)
    levels = to_bytes(values, "percentile")
    assert levels[500] in (127, 128) and levels[-1] == 255
    assert to_bytes(values, "minmax")[500] == round(500 / 65535 * 255)


def test_a_12_bit_camera_keeps_256_levels_where_full_leaves_16():
    values = np.arange(4096, dtype=np.uint16)
    assert len(np.unique(to_bytes(values, "full"))) == 17
    assert len(np.unique(to_bytes(values, "0:4095"))) == 256


@pytest.mark.parametrize(
    "values", [np.array([0.0, 1.0], np.float32), np.array([0, 65536]), np.array([-1, 5])]
)
def test_values_without_a_full_range_are_refused(values):
    with pytest.raises(NoFullRangeError, match=r"received values from .* give --window minmax"):
        to_bytes(values, "full")
    assert to_bytes(values, "minmax").tolist() == [0, 255]


def test_what_is_no_number_is_black_and_does_not_move_the_others():
    values = np.array([np.nan, 1.0, 3.0, np.inf], np.float32)
    assert to_bytes(values, "minmax").tolist() == [0, 0, 255, 255]
    assert to_bytes(np.full(3, np.nan), "percentile").tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "window", ["full", "minmax", "percentile", "0:4095", "-1024:3071", "0:1.5"]
)
def test_windows(window):
    check_window(window)


@pytest.mark.parametrize("window", ["", "max", "5", "5:5", "9:1", "a:b", "1.2.3:4", "0:nan"])
def test_what_is_no_window_is_refused_in_one_line(window):
    with pytest.raises(InputError, match=r"^--window expects full, .* received .*$"):
        check_window(window)

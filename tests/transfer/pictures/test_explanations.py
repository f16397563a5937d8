"""Explanations: the light falls where the evidence is, and what is not at hand is named."""

import numpy as np
import pytest

from tests.transfer.pictures.drawing import texts
from transfer.pictures.explanations import CLEAR, lit, plot_explanation

GREY = np.full((60, 90, 3), 120, np.uint8)


def test_light_falls_where_evidence_is_and_the_rest_is_dark():
    heat = np.full((6, 9), -3.0, np.float32)
    heat[1, 7] = 2.0
    shown = lit(GREY, heat)
    assert shown.shape == GREY.shape and shown.dtype == np.uint8
    redness = shown[..., 0].astype(int) - shown[..., 2]
    row, column = np.unravel_index(redness.argmax(), redness.shape)
    assert 10 <= row < 20 and 70 <= column < 80
    assert np.array_equal(shown[40:, :40], np.full((20, 40, 3), round(120 * CLEAR)))
    assert np.array_equal(lit(GREY, 7 + 100 * heat), shown)  # in whatever unit


def test_evidence_that_is_alike_everywhere_lights_nothing():
    assert np.array_equal(lit(GREY, np.ones((3, 3))), np.full_like(GREY, round(120 * CLEAR)))


@pytest.mark.parametrize("heat", [None, np.eye(4)])
def test_panels_are_image_evidence_and_what_is_near(svg, figures, heat):
    near = [("cats/$1$.jpg", GREY[:30]), ("cats/gone.jpg", None)]
    assert plot_explanation(GREY, heat, "cat 93%, unknown", near, svg) == svg
    said = texts(svg)
    panels = [
        "cat 93%, unknown",
        *["what speaks for it"] * (heat is not None),
        "near: cats/$1$.jpg",
    ]
    assert [axes.get_title() for axes in figures[0].axes] == panels
    assert {*panels, "near, but not at hand: cats/gone.jpg"} <= set(said)
    assert np.array_equal(figures[0].axes[-1].images[0].get_array(), GREY[:30])

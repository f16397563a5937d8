"""The picture of confidence against accuracy."""

import numpy as np

from tests.transfer.pictures.drawing import assert_nothing_is_cut_off, image_size
from transfer.calibration import reliability
from transfer.pictures.reliability import plot_reliability


def test_both_curves_are_drawn_with_their_intervals(tmp_path, figures):
    random = np.random.default_rng(0)
    said = random.dirichlet((1, 1, 1), 200)
    labels = random.integers(0, 3, 200)
    curves = {
        "before calibration": reliability(said, labels),
        "calibrated": reliability(said, labels),
    }
    path = plot_reliability(curves, said.max(1), tmp_path / "r.png", "head, $test$ split")
    image_size(path)
    (figure,) = figures
    assert_nothing_is_cut_off(figure)
    upper, lower = figure.axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == [
        "true probabilities", *curves,
    ]  # fmt: skip
    drawn = upper.containers[1].lines[0]
    np.testing.assert_allclose(drawn.get_xdata(), curves["calibrated"].confidence)
    np.testing.assert_allclose(drawn.get_ydata(), curves["calibrated"].accuracy)
    assert sum(bar.get_height() for bar in lower.patches) == 200

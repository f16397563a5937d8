"""Pictures of how many images there are, and would have to be."""

import numpy as np
import pytest

from tests.transfer.pictures.drawing import assert_nothing_is_cut_off, image_size
from transfer.pictures.classes import plot_balance, plot_learning_curve


def test_bars_stand_on_one_another(tmp_path, figures):
    counts = {"train": [30, 10], "val": [0, 0], "test": [4, 2]}
    image_size(plot_balance(["a cat", "$x_2$"], counts, tmp_path / "b.png"))
    (figure,) = figures
    assert_nothing_is_cut_off(figure)
    (axes,) = figure.axes
    bars = [(bar.get_y(), bar.get_height()) for bar in axes.patches]
    assert bars == [(0, 30), (0, 10), (30, 4), (10, 2)]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a cat", "$x_2$"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "test"]


def test_many_classes_are_counted_and_not_named(tmp_path, figures):
    plot_balance([str(n) for n in range(200)], {"train": range(200)}, tmp_path / "b.png")
    assert figures[0].axes[0].get_xlabel() == "200 classes"


@pytest.mark.parametrize("counts", [{"train": [1, 2, 3]}, {}])
def test_other_numbers_of_classes_are_refused(tmp_path, counts):
    with pytest.raises(ValueError, match="counts of 2 classes"):
        plot_balance(["a", "b"], counts, tmp_path / "b.png")


def test_a_curve_goes_on_to_what_is_foretold(tmp_path, figures):
    path = tmp_path / "c.png"
    plot_learning_curve([8, 16, 32], [0.5, 0.6, 0.7], (40, 0.71, 0.01), (80, 0.75, 0.02), path)
    (figure,) = figures
    assert_nothing_is_cut_off(figure)
    measured, foretold = figure.axes[0].lines[:2]
    np.testing.assert_allclose(measured.get_ydata(), [0.5, 0.6, 0.7])
    np.testing.assert_allclose(foretold.get_xdata(), [40, 80])
    with pytest.raises(ValueError, match="an accuracy for each size, received 1 and 2"):
        plot_learning_curve([8], [0.5, 0.6], (40, 0.71, 0.01), (80, 0.75, 0.02), path)

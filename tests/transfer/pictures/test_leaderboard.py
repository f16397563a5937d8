"""The leaderboard: a table whose cells hold their texts."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.transfer.pictures.drawing import assert_nothing_is_cut_off, image_size
from transfer.pictures.leaderboard import CHOSEN_FILL, plot_leaderboard

COLUMNS = ["hidden", "learning_rate", "use_cuts", "val accuracy"]


def cells(figure):
    (table,) = figure.axes[0].tables
    return table.get_celld()


@pytest.mark.parametrize("chosen", [0, 2])
def test_the_leaderboard_is_a_table(tmp_path, figures, chosen):
    rows = [
        ["256+128", "default", "a_very_long_name_of_a_cut+another_very_long_one", "0.9123"],
        ["256", "1e-05", "$x$", "0.9"],
        ["linear", "", "top", "91%"],
    ]
    path = plot_leaderboard(COLUMNS, rows, tmp_path / "b.png", "3 heads by $validation$", chosen)
    image_size(path)
    assert_nothing_is_cut_off(figures[0])
    found = cells(figures[0])
    words = {place: cell.get_text().get_text() for place, cell in found.items()}
    assert [words[0, i] for i in range(4)] == [
        "hidden",
        "learning rate",
        "use cuts",
        "val accuracy",
    ]
    assert [words[i, 0] for i in (1, 2, 3)] == ["256+128", "256", "linear"]
    assert words[1, 2] == "a_very_long_name_of_a_cut+another_very_long…"
    assert words[2, 2] == "$x$"
    sides = [found[2, i].get_text().get_horizontalalignment() for i in range(4)]
    assert sides == ["left", "right", "left", "right"]
    fills = {row: {to_hex(found[row, i].get_facecolor()) for i in range(4)} for row in range(4)}
    assert [row for row in fills if fills[row] == {CHOSEN_FILL}] == [chosen + 1]
    weights = [found[i, 0].get_text().get_weight() for i in range(4)]
    assert [row for row in range(4) if weights[row] == "bold"] == [0, chosen + 1]
    with Image.open(path) as image:
        colours = {to_hex(np.array(rgb) / 255) for _, rgb in image.convert("RGB").getcolors(10**6)}
    assert CHOSEN_FILL in colours, "the fill is on the page"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 12), (21, 9)])
def test_every_cell_holds_its_text(tmp_path, figures, rows, columns):
    rng = np.random.default_rng(rows)
    text = [["W" * int(rng.integers(1, 28)) for _ in range(columns)] for _ in range(rows)]
    names = [f"column {'x' * int(rng.integers(1, 14))}" for _ in range(columns)]
    title = "a title that may be longer than the table is wide"
    plot_leaderboard(names, text, tmp_path / "b.png", title, 0)
    found = cells(figures[0])
    assert len(found) == (rows + 1) * columns
    for cell in found.values():
        around, box = cell.get_window_extent(), cell.get_text().get_window_extent()
        assert around.x0 < box.x0 < box.x1 < around.x1, cell.get_text().get_text()
        assert around.y0 < box.y0 < box.y1 < around.y1
    (heading,) = figures[0].texts
    assert heading.get_text() == title
    assert heading.get_window_extent().y0 > found[0, 0].get_window_extent().y1
    assert_nothing_is_cut_off(figures[0])


@pytest.mark.parametrize(
    ("columns", "rows"), [(["a"], []), ([], [[]]), (["a"], [["1", "2"]]), (["a"], [["1"], []])]
)
def test_tables_that_do_not_fit_are_refused(tmp_path, columns, rows):
    with pytest.raises(ValueError, match=rf"rows of {len(columns)} cells, at least one, received"):
        plot_leaderboard(columns, rows, tmp_path / "x.png", "title", 0)

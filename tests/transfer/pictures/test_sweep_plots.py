"""transfer.pictures.parameters: where heads are drawn, what is marked, and that all can be read.

Positions, colours and overlaps are read from the figures on their way to the file.
"""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.transfer.pictures.drawing import drawn_figures
from tests.transfer.pictures.test_plots import assert_nothing_is_cut_off, image_size, text_boxes
from transfer.pictures.curves import (
    BEST_COLOUR,
    DROPPED_COLOUR,
    END_COLOUR,
    HEAD_COLOUR,
    plot_rate_range,
    plot_rungs,
)
from transfer.pictures.leaderboard import FIRST_ROW_FILL, plot_leaderboard
from transfer.pictures.parameters import plot_parameters


@pytest.fixture
def drawn():
    """The figures drawn by the test, in order."""
    with drawn_figures() as figures:
        yield figures


def ticks(axes):
    """Label -> position."""
    return dict(
        zip((t.get_text() for t in axes.get_xticklabels()), axes.get_xticks().tolist(), strict=True)
    )


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def dots(axes, label="head"):
    """`(heads, 2)` positions of what a scatter drew."""
    found = [each for each in axes.collections if each.get_label() == label]
    return np.concatenate([each.get_offsets() for each in found]) if found else np.zeros((0, 2))


def assert_labels_are_apart(figure):
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            # Turned labels are wider boxes than text; their anchors must be a line apart.
            shown = [label for label in labels if label.get_text() and label.get_visible()]
            for one, other in pairwise(shown):
                if one.get_rotation():
                    apart = other.get_window_extent().x1 - one.get_window_extent().x1
                    assert apart > one.get_fontsize() / 72 * figure.dpi, one.get_text()
                else:
                    assert not one.get_window_extent().overlaps(other.get_window_extent())


def assert_texts_are_apart(figure):
    figure_texts = [*figure.texts, *(axes.title for axes in figure.axes)]
    for legend in figure.legends:
        figure_texts += legend.get_texts()
    boxes = [text.get_window_extent() for text in figure_texts if text.get_text()]
    boxes += [label.get_window_extent() for axes in figure.axes if axes.axison
              for label in axes.get_xticklabels()
              if label.get_text() and not label.get_rotation()]  # fmt: skip
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])


# ---- parameters


def many_heads(count=300, seed=0):
    rng = np.random.default_rng(seed)
    hidden = [(), (256,), (256, 128), (1024, 512, 256)]
    cuts = [("top",), ("block_12_expand_relu", "block_16_expand_relu"), ("blocks", "top")]
    schedules = ["constant", "exponential", "cosine", "plateau"]
    points = []
    for i in range(count):
        point = {
            "hidden": hidden[rng.integers(4)],
            "dropout": float(f"{rng.uniform(0, 0.5):.4g}"),
            "learning_rate": None if i % 9 == 0 else float(f"{10 ** rng.uniform(-5, -1):.4g}"),
            "l2": [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2][rng.integers(6)],
            "schedule": schedules[rng.integers(4)],
            "batch_norm": bool(rng.integers(2)),
            "use_cuts": cuts[rng.integers(3)],
            "epochs": int(rng.integers(5, 31)),
        }
        if i % 7 == 3:
            del point["l2"], point["use_cuts"]
        points.append(point)
    accuracies = np.clip(0.9 + 0.02 * rng.normal(size=count), 0, 1)
    accuracies[:20] = 0.1
    return points, accuracies.tolist()


@pytest.fixture(scope="module")
def three_hundred(tmp_path_factory):
    """Heads, accuracies, and what was drawn of them: figure and file."""
    points, accuracies = many_heads()
    with drawn_figures() as figures:
        path = plot_parameters(points, accuracies, tmp_path_factory.mktemp("p") / "p.png")
    return points, np.array(accuracies), figures[0], path


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_eight_parameters_of_three_hundred_heads_can_be_read(three_hundred):
    points, accuracies, figure, path = three_hundred
    assert list(panels(figure)) == [name.replace("_", " ") for name in points[1]]
    width, height = image_size(path)
    assert 1.5 < width / height < 2.5
    assert width < 2000
    assert_nothing_is_cut_off(figure)
    assert_labels_are_apart(figure)
    assert_texts_are_apart(figure)
    # Twenty diverged heads neither squeeze the others nor vanish.
    low, high = next(iter(panels(figure).values())).get_ylim()
    others = accuracies[20:]
    assert high - low < 1.3 * (others.max() - others.min())
    below = int((accuracies < low).sum())
    assert 20 <= below < 26
    assert figure.get_suptitle() == (
        f"300 heads, the best at {accuracies.max():.4f}; {below} below {low:.3f}, at the lower edge"
    )
    for axes in panels(figure).values():
        assert len(dots(axes)) + len(dots(axes, "far below")) == 300
        np.testing.assert_allclose(
            np.sort(dots(axes)[:, 1]), np.sort(accuracies[accuracies >= low])
        )
        assert (dots(axes, "far below")[:, 1] > low).all()
        left, right = axes.get_xlim()
        assert left < dots(axes)[:, 0].min() < dots(axes)[:, 0].max() < right


def test_numbers_that_span_magnitudes_stand_on_a_logarithmic_axis(three_hundred):
    points, accuracies, figure, _ = three_hundred
    axes = panels(figure)["learning rate"]
    places = ticks(axes)
    assert {"0.0001", "0.001", "0.01", "default"} <= set(places)
    assert {name: places[name] for name in ("0.0001", "0.001", "0.01")} == pytest.approx(
        {"0.0001": -4, "0.001": -3, "0.01": -2}
    )
    low = axes.get_ylim()[0]
    expected = [
        (places["default"], accuracy) if point["learning_rate"] is None
        else (np.log10(point["learning_rate"]), accuracy)
        for point, accuracy in zip(points, accuracies, strict=True) if accuracy >= low
    ]  # fmt: skip
    on_axis = np.array([place != places["default"] for place, _ in expected])
    np.testing.assert_allclose(dots(axes)[on_axis], np.array(expected)[on_axis])
    assert places["default"] > np.array(expected)[on_axis, 0].max()
    # Drawn evenly from 0 to 0.5: the smallest is 1/500 of the largest, and yet.
    drawn_dropouts = dots(panels(figure)["dropout"])[:, 0]
    kept = [p["dropout"] for p, accuracy in zip(points, accuracies, strict=True) if accuracy >= low]
    np.testing.assert_allclose(drawn_dropouts, kept)


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        ([1, 4, 12, 21], True),
        ([1, 4, 12, 20], False),
        ([-1, 20, 40, 200], False),
        ([(), (1,), (8,), (64,)], True),
        ([1e-4, 1e-2], True),
        ([*np.linspace(0.01, 1, 30)], False),
        ([*np.geomspace(0.01, 1, 30)], True),
    ],
)
def test_the_axis_suits_the_numbers(tmp_path, drawn, values, is_log):
    accuracies = np.linspace(0.1, 0.9, len(values))
    plot_parameters([{"a": value} for value in values], accuracies, tmp_path / "p.png")
    (axes,) = drawn[0].axes
    # Heads that are alone in their strip lie no further from its middle than its width.
    x = dots(axes)[np.argsort(dots(axes)[:, 1]), 0]
    numbers = np.array([
        (value[0] if value else 0) if isinstance(value, tuple) else value for value in values
    ], float)  # fmt: skip
    expected = np.log10(np.maximum(numbers, numbers[numbers > 0].min())) if is_log else numbers
    inside = expected if 0 not in numbers else expected[1:]
    assert x[-1] == expected[-1], "the best is not moved"
    np.testing.assert_allclose(x[-len(inside) :], inside, atol=0.06 * np.ptp(expected))
    if 0 in numbers and is_log:
        assert ticks(axes)["0"] < inside[0] - 0.1 * np.ptp(inside)


def test_zero_default_and_absent_have_their_own_places(tmp_path, drawn):
    points = [{"l2": value, "other": 1} for value in (0, 1e-4, 1e-3, 1e-2, None)] + [{}]
    plot_parameters(points, [0.1, 0.2, 0.3, 0.6, 0.5, 0.4], tmp_path / "p.png")
    axes = panels(drawn[0])["l2"]
    places = ticks(axes)
    assert sorted(places, key=places.get) == ["0", "0.0001", "0.001", "0.01", "default", "absent"]
    x = dots(axes)[:, 0]
    strips = np.array(list(places.values()))
    nearest = [list(places)[int(np.abs(strips - place).argmin())] for place in x]
    assert nearest == ["0", "0.0001", "0.001", "0.01", "default", "absent"]
    edges = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert places["0"] < edges[0] < places["0.0001"]
    assert places["0.01"] < edges[1] < places["default"]
    assert set(ticks(panels(drawn[0])["other"])) == {"1", "absent"}


def test_strips_show_median_and_best(three_hundred):
    points, accuracies, figure, _ = three_hundred
    names = {"none": (), "256": (256,), "256+128": (256, 128), "1024+512+256": (1024, 512, 256)}
    axes = panels(figure)["hidden"]
    places = ticks(axes)
    assert sorted(places, key=places.get) == list(names)
    medians = {
        line.get_xdata().mean(): line.get_ydata()[0] for line in lines(axes, "median of a strip")
    }
    bests = {line.get_xdata()[0]: line.get_ydata()[0] for line in lines(axes, "best of a strip")}
    for name, value in names.items():
        inside = accuracies[[point["hidden"] == value for point in points]]
        assert medians[places[name]] == pytest.approx(np.median(inside))
        assert bests[places[name]] == inside.max()
    assert not lines(panels(figure)["learning rate"], "median of a strip")[1:], "only of default"
    assert not lines(panels(figure)["dropout"], "median of a strip")


def test_the_best_head_is_ringed_everywhere(three_hundred):
    points, accuracies, figure, _ = three_hundred
    best = points[int(accuracies.argmax())]
    for name, axes in panels(figure).items():
        (ring,) = lines(axes, "best head")
        assert ring.get_ydata()[0] == accuracies.max()
        assert ring.get_fillstyle() == "none"
        assert to_hex(ring.get_color()) == BEST_COLOUR.lower()
        assert ring.get_xdata()[0] in dots(axes)[:, 0]
        if name in ("schedule", "batch norm"):
            value = str(best[name.replace(" ", "_")]).lower()
            assert ring.get_xdata()[0] == ticks(axes)[value]


def test_the_same_heads_make_the_same_picture(three_hundred, tmp_path):
    points, accuracies, _, path = three_hundred
    again = plot_parameters(points, accuracies, tmp_path / "again.png")
    with Image.open(path) as one, Image.open(again) as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_points_from_json_and_constant_parameters(tmp_path, drawn):
    points = [{"hidden": [8, 4], "seed": 1}, {"hidden": [], "seed": 1}, {"hidden": [8], "seed": 1}]
    plot_parameters(points, [0.5, 0.6, 0.7], tmp_path / "p.png")
    assert list(panels(drawn[0])) == ["hidden"]
    assert set(ticks(panels(drawn[0])["hidden"])) == {"none", "8", "8+4"}
    assert drawn[0].get_suptitle() == "3 heads, the best at 0.7000"


def test_of_many_names_the_best_are_shown(tmp_path, drawn):
    points = [{"name": f"a rather long $name$ {i:02}"[-18:]} for i in range(30)]
    accuracies = [0.5 + (i * 7 % 30) / 100 for i in range(30)]
    plot_parameters([*points, {}], [*accuracies, 0.5], tmp_path / "p.png")
    assert_nothing_is_cut_off(drawn[0])
    assert_labels_are_apart(drawn[0])
    best = sorted(range(30), key=lambda i: -accuracies[i])[:7]
    (axes,) = drawn[0].axes
    shown = ticks(axes)
    assert list(shown) == [*(points[i]["name"] for i in sorted(best)), "23 others", "absent"]
    assert (np.abs(dots(axes)[:, 0] - shown["23 others"]) < 0.5).sum() == 23


def test_few_numbers_close_together_get_places_of_their_own(tmp_path, drawn):
    values = [0.01, 0.011, 0.012, 0.4]
    plot_parameters([{"a": value} for value in values], [0.5] * 4, tmp_path / "p.png")
    (axes,) = drawn[0].axes
    assert ticks(axes) == {"0.01": 0, "0.011": 1, "0.012": 2, "0.4": 3}
    assert_labels_are_apart(drawn[0])


@pytest.mark.parametrize("count", [1, 4, 5, 8, 13])
def test_any_number_of_parameters_has_room(tmp_path, drawn, count):
    rng = np.random.default_rng(count)
    points = [{f"parameter_{i}": rng.normal() for i in range(count)} for _ in range(12)]
    plot_parameters(points, rng.uniform(size=12), tmp_path / "p.png")
    assert len(panels(drawn[0])) == count
    assert_nothing_is_cut_off(drawn[0])
    assert_texts_are_apart(drawn[0])
    sizes = {tuple(np.round(axes.bbox.size)) for axes in panels(drawn[0]).values()}
    assert min(min(size) for size in sizes) > 180, "pixels a side"


@pytest.mark.parametrize(
    ("points", "accuracies", "words"),
    [
        ([{"a": 1}, {"a": 1}], [0.5, 0.6], "a parameter that varies, received 2 points alike"),
        ([{}], [0.5], "a parameter that varies"),
        ([], [], "a parameter that varies"),
        ([{"a": 1}, {"a": 2}], [0.5], "each of 2 points, received 1"),
        ([{"a": 1}, {"a": 2}], [0.5, 55.0], "accuracies from 0 to 1, received 55.0"),
        ([{"a": 1}, {"a": 2}], [0.5, float("nan")], "accuracies from 0 to 1, received nan"),
    ],
)
def test_heads_that_cannot_be_compared_are_refused(tmp_path, points, accuracies, words):
    with pytest.raises(ValueError, match=words):
        plot_parameters(points, accuracies, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


# ---- rungs


def rising(epochs, height):
    done = np.arange(1, epochs + 1)
    return done, height - 0.4 * height * np.exp(-done / 3)


def colour(line):
    return to_hex(line.get_color()).upper()


def test_rungs_tell_survivors_from_dropped_heads(tmp_path, drawn):
    curves = [rising(3, 0.5), rising(27, 0.8), rising(9, 0.7), rising(27, 0.9), rising(3, 0.6)]
    path = plot_rungs(curves, tmp_path / "r.png")
    assert image_size(path)[0] > 600
    assert_nothing_is_cut_off(drawn[0])
    assert_texts_are_apart(drawn[0])
    (axes,) = drawn[0].axes
    whole = [line for line in axes.lines if len(line.get_xdata()) > 1]
    for curve, wanted in zip(curves, "DHDHD", strict=True):
        (line,) = [each for each in whole[:-1] if len(each.get_xdata()) == len(curve[0])
                   and np.allclose(each.get_ydata(), curve[1])
                   and colour(each) != BEST_COLOUR]  # fmt: skip
        assert colour(line) == {"D": DROPPED_COLOUR, "H": HEAD_COLOUR}[wanted].upper()
    ends = [line for line in axes.lines if colour(line) == END_COLOUR]
    assert sorted(line.get_xdata()[0] for line in ends) == [3, 3, 9]
    (best,) = [line for line in whole if colour(line) == BEST_COLOUR]
    np.testing.assert_allclose(best.get_ydata(), curves[3][1])
    assert best.get_linewidth() > 2 * max(line.get_linewidth() for line in whole if line != best)
    assert best.get_zorder() == max(line.get_zorder() for line in axes.lines)
    said = {text for text, _ in text_boxes(drawn[0])}
    assert {
        "ended earlier: 3", "trained to epoch 27: 2",
        f"best head: {curves[3][1][-1]:.4f} after epoch 27",
    } <= said  # fmt: skip
    assert not [text for text in said if "not shown" in text]


def test_the_best_is_the_highest_point_even_of_a_head_that_ended_early(tmp_path, drawn):
    plot_rungs(
        [([1, 2], [0.5, 0.6]), ([1, 3, 9], [0.5, 0.55, 0.5]), ([1], [0.4])], tmp_path / "r.png"
    )
    assert "best head: 0.6000 after epoch 2" in {text for text, _ in text_boxes(drawn[0])}


def test_diverged_heads_do_not_squeeze_the_others(tmp_path, drawn):
    good = [rising(27 if i < 30 else 9, 0.85 + 0.001 * i) for i in range(90)]
    diverged = [(np.arange(1, 4), np.full(3, 0.1)) for _ in range(10)]
    broken = [(np.arange(1, 4), np.array([0.6, np.nan, np.nan]))]
    plot_rungs([*diverged, *good, *broken], tmp_path / "r.png")
    (axes,) = drawn[0].axes
    low, high = axes.get_ylim()
    assert 0.3 < low < min(curve[1].min() for curve in good)
    assert high > max(curve[1].max() for curve in good)
    (note,) = [text.get_text() for text in axes.texts]
    assert note == f"not shown: 10 of 101 heads where below {low:.3f}"
    assert_nothing_is_cut_off(drawn[0])
    box = axes.texts[0].get_window_extent()
    assert axes.bbox.x0 < box.x0 < box.x1 < axes.bbox.x1


@pytest.mark.parametrize(
    "curves", [[([1], [0.5])], [([0.5, 1], [0.0, 1.0])], [([1], [0.5]), ([1], [np.nan])]]
)
def test_the_least_of_rungs_can_be_drawn(tmp_path, drawn, curves):
    image_size(plot_rungs(curves, tmp_path / "r.png"))
    low, high = drawn[0].axes[0].get_ylim()
    assert low < min(curves[0][1]) <= max(curves[0][1]) < high


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        ([], "a finite accuracy, received 0 curves"),
        ([([1], [np.nan])], "a finite accuracy, received 1 curves"),
        ([([1, 2], [0.5])], "received 2 epochs and 1 accuracies"),
        ([([1], [0.5]), ([], [])], "received 0 epochs and 0 accuracies"),
    ],
)
def test_curves_that_do_not_fit_are_refused(tmp_path, curves, words):
    with pytest.raises(ValueError, match=words):
        plot_rungs(curves, tmp_path / "x.png")


# ---- learning-rate range


def test_the_range_marks_suggestion_and_divergence(tmp_path, drawn):
    rates = np.geomspace(1e-6, 10, 50)
    losses = 2.3 - 1.8 / (1 + (1e-3 / rates)) + (rates / 0.1) ** 2
    losses[-3:] = np.nan, np.inf, 1e30
    path = plot_rate_range(rates, losses, 2.5e-4, tmp_path / "l.png")
    assert image_size(path)[0] > 500
    assert_nothing_is_cut_off(drawn[0])
    assert_texts_are_apart(drawn[0])
    (axes,) = drawn[0].axes
    assert axes.get_xscale() == "log"
    diverged = ~(losses <= 2 * losses[2])
    assert 3 < diverged.sum() < 20
    (line,) = lines(axes, "loss")
    np.testing.assert_array_equal(line.get_ydata(), np.where(diverged, np.nan, losses))
    np.testing.assert_array_equal(line.get_xdata(), rates)
    (crosses,) = lines(axes, f"diverged: {diverged.sum()}")
    np.testing.assert_array_equal(crosses.get_xdata(), rates[diverged])
    low, high = axes.get_ylim()
    assert low < losses[~diverged].min()
    assert losses[~diverged].max() < crosses.get_ydata()[0] < high < 6
    (suggested,) = lines(axes, "suggested: 0.00025")
    assert set(suggested.get_xdata()) == {2.5e-4}


def test_without_divergence_there_are_no_crosses(tmp_path, drawn):
    plot_rate_range(np.geomspace(1e-4, 1, 9), np.linspace(2, 1, 9), 0.1, tmp_path / "l.png")
    said = [text for text, _ in text_boxes(drawn[0])]
    assert "suggested: 0.1" in said
    assert not [text for text in said if "diverged" in text]


def test_one_finite_loss_is_enough(tmp_path, drawn):
    rates, losses = np.array([1e-4, 1e-3, 1e-2]), np.array([np.nan, 2.0, np.inf])
    image_size(plot_rate_range(rates, losses, 1e-3, tmp_path / "l.png"))
    assert len(lines(drawn[0].axes[0], "diverged: 2")) == 1


@pytest.mark.parametrize(
    ("rates", "losses", "suggestion", "words"),
    [
        ([1e-3, 1e-2], [1.0], 1e-3, r"each of \(2,\) rates, received \(1,\)"),
        ([[1e-3]], [[1.0]], 1e-3, r"received \(1, 1\)"),
        ([0.0, 1e-2], [1.0, 1.0], 1e-3, "rates above 0, received 0.0"),
        ([1e-3, 1e-2], [1.0, 1.0], -1.0, "rates above 0, received -1.0"),
        ([1e-3, 1e-2], [np.nan, np.inf], 1e-3, "a finite loss, received 2 without"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(tmp_path, rates, losses, suggestion, words):
    with pytest.raises(ValueError, match=words):
        plot_rate_range(np.array(rates), np.array(losses), suggestion, tmp_path / "x.png")


# ---- leaderboard

COLUMNS = ["hidden", "learning_rate", "use_cuts", "val accuracy"]


def cells(figure):
    (table,) = figure.axes[0].tables
    return table.get_celld()


def test_the_leaderboard_is_a_table(tmp_path, drawn):
    rows = [
        ["256+128", "default", "a_very_long_name_of_a_cut+another_very_long_one", "0.9123"],
        ["256", "1e-05", "$x$", "0.9"],
        ["linear", "", "top", "91%"],
    ]
    path = plot_leaderboard(COLUMNS, rows, tmp_path / "b.png", "3 heads by $validation$")
    image_size(path)
    assert_nothing_is_cut_off(drawn[0])
    found = cells(drawn[0])
    words = {place: cell.get_text().get_text() for place, cell in found.items()}
    assert [words[0, i] for i in range(4)] == [
        "hidden",
        "learning rate",
        "use cuts",
        "val accuracy",
    ]
    assert [words[i, 0] for i in (1, 2, 3)] == ["256+128", "256", "linear"]
    assert words[1, 2] == "a_very_long_name_of_a_cut+a…"
    assert words[2, 2] == "$x$"
    sides = [found[2, i].get_text().get_horizontalalignment() for i in range(4)]
    assert sides == ["left", "right", "left", "right"]
    first = [to_hex(found[1, i].get_facecolor()) for i in range(4)]
    assert first == [FIRST_ROW_FILL] * 4
    assert FIRST_ROW_FILL not in {to_hex(found[2, i].get_facecolor()) for i in range(4)}
    weights = [found[i, 0].get_text().get_weight() for i in (1, 2, 3)]
    assert weights == ["bold", "normal", "normal"]
    with Image.open(path) as image:
        colours = {to_hex(np.array(rgb) / 255) for _, rgb in image.convert("RGB").getcolors(10**6)}
    assert FIRST_ROW_FILL in colours, "the fill is on the page"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 12), (20, 4), (300, 9)])
def test_every_cell_holds_its_text(tmp_path, drawn, rows, columns):
    rng = np.random.default_rng(rows)
    text = [["W" * int(rng.integers(1, 28)) for _ in range(columns)] for _ in range(rows)]
    names = [f"column {'x' * int(rng.integers(1, 14))}" for _ in range(columns)]
    title = "a title that may be longer than the table is wide"
    plot_leaderboard(names, text, tmp_path / "b.png", title)
    found = cells(drawn[0])
    assert len(found) == (min(rows, 20) + 1) * columns
    for cell in found.values():
        around, box = cell.get_window_extent(), cell.get_text().get_window_extent()
        assert around.x0 < box.x0 < box.x1 < around.x1, cell.get_text().get_text()
        assert around.y0 < box.y0 < box.y1 < around.y1
    (heading,) = drawn[0].texts
    assert heading.get_text() == title
    assert heading.get_window_extent().y0 > found[0, 0].get_window_extent().y1
    assert_nothing_is_cut_off(drawn[0])


@pytest.mark.parametrize(
    ("columns", "rows"), [(["a"], []), ([], [[]]), (["a"], [["1", "2"]]), (["a"], [["1"], []])]
)
def test_tables_that_do_not_fit_are_refused(tmp_path, columns, rows):
    with pytest.raises(ValueError, match=rf"rows of {len(columns)} cells, at least one, received"):
        plot_leaderboard(columns, rows, tmp_path / "x.png", "title")

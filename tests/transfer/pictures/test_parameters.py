"""Parameters: where heads are drawn, what is marked, and that all can be read."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.transfer.pictures.drawing import (
    assert_labels_are_apart,
    assert_nothing_is_cut_off,
    assert_texts_are_apart,
    drawn_figures,
    image_size,
    lines,
)
from transfer.pictures.curves import (
    BEST_COLOUR,
)
from transfer.pictures.parameters import plot_parameters


def ticks(axes):
    """Label -> position."""
    return dict(
        zip((t.get_text() for t in axes.get_xticklabels()), axes.get_xticks().tolist(), strict=True)
    )


def dots(axes, label="head"):
    """`(heads, 2)` positions of what a scatter drew."""
    found = [each for each in axes.collections if each.get_label() == label]
    return np.concatenate([each.get_offsets() for each in found]) if found else np.zeros((0, 2))


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
def test_the_axis_suits_the_numbers(tmp_path, figures, values, is_log):
    accuracies = np.linspace(0.1, 0.9, len(values))
    plot_parameters([{"a": value} for value in values], accuracies, tmp_path / "p.png")
    (axes,) = figures[0].axes
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


def test_zero_default_and_absent_have_their_own_places(tmp_path, figures):
    points = [{"l2": value, "other": 1} for value in (0, 1e-4, 1e-3, 1e-2, None)] + [{}]
    plot_parameters(points, [0.1, 0.2, 0.3, 0.6, 0.5, 0.4], tmp_path / "p.png")
    axes = panels(figures[0])["l2"]
    places = ticks(axes)
    assert sorted(places, key=places.get) == ["0", "0.0001", "0.001", "0.01", "default", "absent"]
    x = dots(axes)[:, 0]
    strips = np.array(list(places.values()))
    nearest = [list(places)[int(np.abs(strips - place).argmin())] for place in x]
    assert nearest == ["0", "0.0001", "0.001", "0.01", "default", "absent"]
    edges = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert places["0"] < edges[0] < places["0.0001"]
    assert places["0.01"] < edges[1] < places["default"]
    assert set(ticks(panels(figures[0])["other"])) == {"1", "absent"}


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


def test_points_from_json_and_constant_parameters(tmp_path, figures):
    points = [{"hidden": [8, 4], "seed": 1}, {"hidden": [], "seed": 1}, {"hidden": [8], "seed": 1}]
    plot_parameters(points, [0.5, 0.6, 0.7], tmp_path / "p.png")
    assert list(panels(figures[0])) == ["hidden"]
    assert set(ticks(panels(figures[0])["hidden"])) == {"none", "8", "8+4"}
    assert figures[0].get_suptitle() == "3 heads, the best at 0.7000"


def test_of_many_names_the_best_are_shown(tmp_path, figures):
    points = [{"name": f"a rather long $name$ {i:02}"[-18:]} for i in range(30)]
    accuracies = [0.5 + (i * 7 % 30) / 100 for i in range(30)]
    plot_parameters([*points, {}], [*accuracies, 0.5], tmp_path / "p.png")
    assert_nothing_is_cut_off(figures[0])
    assert_labels_are_apart(figures[0])
    best = sorted(range(30), key=lambda i: -accuracies[i])[:7]
    (axes,) = figures[0].axes
    shown = ticks(axes)
    assert list(shown) == [*(points[i]["name"] for i in sorted(best)), "23 others", "absent"]
    assert (np.abs(dots(axes)[:, 0] - shown["23 others"]) < 0.5).sum() == 23


def test_few_numbers_close_together_get_places_of_their_own(tmp_path, figures):
    values = [0.01, 0.011, 0.012, 0.4]
    plot_parameters([{"a": value} for value in values], [0.5] * 4, tmp_path / "p.png")
    (axes,) = figures[0].axes
    assert ticks(axes) == {"0.01": 0, "0.011": 1, "0.012": 2, "0.4": 3}
    assert_labels_are_apart(figures[0])


@pytest.mark.parametrize("count", [1, 4, 5, 8, 13])
def test_any_number_of_parameters_has_room(tmp_path, figures, count):
    rng = np.random.default_rng(count)
    points = [{f"parameter_{i}": rng.normal() for i in range(count)} for _ in range(12)]
    plot_parameters(points, rng.uniform(size=12), tmp_path / "p.png")
    assert len(panels(figures[0])) == count
    assert_nothing_is_cut_off(figures[0])
    assert_texts_are_apart(figures[0])
    sizes = {tuple(np.round(axes.bbox.size)) for axes in panels(figures[0]).values()}
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

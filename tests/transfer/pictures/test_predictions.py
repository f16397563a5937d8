"""Confusion and predictions: what is said, that it can be read, and what is refused."""

import warnings
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.transfer.pictures.drawing import assert_nothing_is_cut_off, image_size, text_boxes, texts
from transfer.pictures.predictions import plot_confusion, plot_predictions

# ---- confusion


def test_confusion_writes_names_and_counts_and_colours_shares(svg, figures):
    confusion = np.array([[30, 10, 0], [7, 693, 0], [0, 0, 0]])
    plot_confusion(confusion, ["cat", "dog $x_1$", "nobody"], svg, "head on test")
    said = texts(svg)
    assert {"cat", "dog $x_1$", "nobody", "head on test", "true class", "predicted class"} <= set(
        said
    )
    cells = [text for text in said if text.isdigit()]
    assert sorted(cells) == sorted(str(count) for count in confusion.ravel())
    shares = figures[0].axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [0.01, 0.99, 0], [0, 0, 0]])


ODD = ("$a_1$", "_x", "[red]x", "a\nb\x1b", "Bär", "caf\udce9", r"\frac{", "\U000102a0")
DRAWN = ("$a_1$", "_x", "[red]x", r"a\nb\x1b", "Bär", r"caf\xe9", r"\frac{", r"\U000102a0")
"""The last is a Carian letter, which no font is expected to have."""


def test_names_are_drawn_letter_by_letter_without_a_warning(svg, figures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(np.eye(8, dtype=int), ODD, svg, f"{ODD[0]}\n")
        assert {*DRAWN, r"$a_1$\n"} <= set(texts(svg))
        images = [np.zeros((9, 9, 3), np.uint8)] * 8
        plot_predictions(images, ODD[::-1], ODD, [0.5] * 8, svg)
    titles = [axes.get_title() for axes in figures[-1].axes]
    assert [f"{one} 50%" in title for one, title in zip(DRAWN, titles, strict=False)] == [True] * 8


@pytest.mark.parametrize("num_classes", [2, 20, 21, 100, 101])
def test_confusion_of_any_size_stays_readable(tmp_path, figures, num_classes):
    names = [f"a class with quite a long name {i}" for i in range(num_classes)]
    confusion = np.full((num_classes, num_classes), 1234)
    path = plot_confusion(confusion, names, tmp_path / "c.png", "title")
    width, height = image_size(path)
    assert 0.8 < width / height < 1.4
    assert max(width, height) < 2800
    assert_nothing_is_cut_off(figures[0])
    axes = figures[0].axes[0]
    assert len(axes.texts) == (num_classes**2 if num_classes <= 20 else 0)
    labels = [label for label in axes.get_yticklabels() if label.get_text().startswith("a class")]
    assert len(labels) == (num_classes if num_classes <= 100 else 0)
    for labels in (axes.get_yticklabels(), axes.get_xticklabels(), axes.texts[:num_classes]):
        boxes = [label.get_window_extent() for label in labels]
        overlapping = [pair for pair in pairwise(boxes) if pair[0].overlaps(pair[1])]
        assert not overlapping


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2), (9,)])
def test_confusion_of_another_shape_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"expected .*\(3, 3\).*received"):
        plot_confusion(np.zeros(shape, int), ["a", "b", "c"], tmp_path / "x.png", "")


# ---- predictions


@pytest.fixture(scope="module")
def photographs():
    data = pytest.importorskip("skimage.data")
    return [data.chelsea(), data.astronaut()[:64, :64], data.coffee(), data.rocket()]


def test_predictions_say_right_and_wrong(photographs, svg, figures):
    plot_predictions(
        photographs,
        ["cat", "person", "coffee", None],
        ["cat", "a_very_long_name_of_a_dog", "espresso", "rocket"],
        [0.394, 0.62, 0.941, 1.0],
        svg,
    )
    assert {
        "✓ cat 39%", "true: cat", "✗ a_very_long_name_of_a… 62%", "true: person",
        "✗ espresso 94%", "true: coffee", "rocket 100%",
    } == set(texts(svg))  # fmt: skip

    looks = []
    for axes in figures[0].axes:
        edge = axes.spines["left"]
        assert to_hex(edge.get_edgecolor()) == to_hex(axes.title.get_color())
        looks.append((axes.title.get_color(), edge.get_linewidth()))
    right, wrong, unknown = looks[0], looks[1], looks[3]
    assert looks[2] == wrong
    assert len({right[0], wrong[0], unknown[0]}) == 3
    assert wrong[1] > 2 * max(right[1], unknown[1])
    red, green, _ = matplotlib.colors.to_rgb(wrong[0])
    assert red > 2 * green
    red, green, _ = matplotlib.colors.to_rgb(right[0])
    assert green > 2 * red
    for axes, photograph in zip(figures[0].axes, photographs, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), photograph)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (25, 5, 5)])
def test_predictions_fill_a_grid(photographs, tmp_path, figures, count, columns, rows):
    images = (photographs * 7)[:count]
    long = "wwwwwwwwwwwwwwwwwwwwww"
    path = plot_predictions(
        images, ["cat"] * count, [long] * count, [1.0] * count, tmp_path / "p.png"
    )
    width, height = image_size(path)
    assert width / height == pytest.approx(columns / rows * 2.4 / 2.8, rel=0.02)
    titles = [box for text, box in text_boxes(figures[0]) if long[:5] in text]
    assert len(titles) == count
    assert figures[0].get_axes()[0].images[0].get_array().shape == photographs[0].shape


@pytest.mark.parametrize("cut", range(4))
def test_predictions_of_unequal_length_are_refused(photographs, tmp_path, cut):
    columns = [photographs[:2], ["cat", None], ["cat", "dog"], [0.5, 0.6]]
    columns[cut] = columns[cut][:1]
    with pytest.raises(ValueError, match="as many true names"):
        plot_predictions(*columns, tmp_path / "x.png")


@pytest.mark.parametrize("count", [0, 26])
def test_predictions_of_none_or_too_many_are_refused(photographs, tmp_path, count):
    with pytest.raises(ValueError, match=rf"1 to 25 images.*received {count}, "):
        plot_predictions(
            photographs[:1] * count, ["a"] * count, ["a"] * count, [1.0] * count, tmp_path / "x.png"
        )


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)],
)
def test_images_that_are_not_rgb_uint8_are_refused(tmp_path, image):
    with pytest.raises(ValueError, match=r"uint8 images .*received"):
        plot_predictions([image], ["a"], ["a"], [1.0], tmp_path / "x.png")

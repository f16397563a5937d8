"""Tuning: which losses and images are drawn, that they can be read, and what is refused."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.transfer.pictures.drawing import (
    assert_labels_are_apart,
    assert_nothing_is_cut_off,
    image_size,
    lines,
    text_boxes,
    texts,
)
from transfer.pictures.predictions import RIGHT_COLOUR, WRONG_COLOUR
from transfer.pictures.tuning import plot_changes, plot_tuning

FOLDS = [
    {"loss": [0.5, 0.3, 0.1], "val_loss": [0.4, 0.3, 0.35], "accuracy": [0.5, 0.6, 0.7]},
    {"loss": [0.7, 0.5], "val_loss": [0.2, 0.1]},
]
WAY = [(0.0, 0.33, 0.0, 0.88), (0.5, 0.27, 0.01, 0.90), (1.0, 0.29, 0.02, 0.89)]


def assert_all_texts_are_apart(figure):
    assert_labels_are_apart(figure)  # ticks beyond the axes, which are not drawn, among them
    ticks = [
        label.get_text() for axes in figure.axes
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]  # fmt: skip
    boxes = [(text, box) for text, box in text_boxes(figure) if text not in ticks]
    assert len(boxes) >= 3
    for i, (text, box) in enumerate(boxes):
        assert not [other for other, its in boxes[:i] if box.overlaps(its)], text


# ---- losses


def test_folds_are_thin_and_means_are_bold_as_far_as_all_went(tmp_path, figures):
    width, height = image_size(plot_tuning(FOLDS, 0.33, WAY, 0.5, tmp_path / "t.png"))
    assert 1.8 < width / height < 2.8
    assert_nothing_is_cut_off(figures[0])
    assert_all_texts_are_apart(figures[0])
    losses = figures[0].axes[0]
    folds = lines(losses, "each fold")
    assert [list(line.get_ydata()) for line in folds] == [fold["val_loss"] for fold in FOLDS]
    (val,), (train,) = lines(losses, "validation, mean"), lines(losses, "training, mean")
    np.testing.assert_allclose(val.get_ydata(), [0.3, 0.2])
    np.testing.assert_allclose(train.get_ydata(), [0.6, 0.4])
    assert list(val.get_xdata()) == [1, 2]
    assert val.get_linewidth() > 2 * folds[0].get_linewidth()
    assert (val.get_linestyle(), train.get_linestyle()) == ("-", "--")
    (start,) = lines(losses, "frozen start")
    assert set(start.get_ydata()) == {0.33}


def test_the_way_shows_loss_error_accuracy_and_the_choice(svg, figures):
    assert plot_tuning(FOLDS, 0.33, WAY, 0.5, svg) == svg
    said = texts(svg)
    assert {
        "Fine-tuning, 50% of the change taken, lowers the log loss from 0.3300 to 0.2700",
        "while it trained", "between the frozen and the tuned weights", "chosen: 50%",
        "share of the change that is taken", "accuracy, %", "0%", "100%",
    } <= set(said)  # fmt: skip
    _, accuracy, way = figures[0].axes
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [88, 90, 89])
    (bars,) = way.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), [0.33, 0.27, 0.29])
    drawn = np.array(bars.lines[2][0].get_segments())[..., 1]
    np.testing.assert_allclose(drawn, [(0.33, 0.33), (0.26, 0.28), (0.27, 0.31)])
    for axes, height in ((accuracy, 90), (way, 0.27)):
        (ring,) = lines(axes, "chosen: 50%")
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.5, pytest.approx(height))
        assert {0.5} in [set(line.get_xdata()) for line in axes.lines if line != ring]


@pytest.mark.parametrize(
    ("chosen", "start", "title"),
    [
        (0.0, 0.33, "Fine-tuning did not help: the frozen start stays, at a log loss of 0.3300"),
        (1.0, 0.33, "Fine-tuning, all of the change taken, lowers the log loss from 0.3300 to 0.2"),
        (1.0, 0.20, "Fine-tuning, all of the change taken, raises the log loss from 0.2000 to 0.2"),
    ],
)
def test_the_title_says_what_came_of_it(tmp_path, figures, chosen, start, title):
    plot_tuning(FOLDS, start, WAY, chosen, tmp_path / "t.png")
    assert figures[0].get_suptitle().startswith(title)


@pytest.mark.parametrize("folds", [1, 10])
def test_one_epoch_and_one_point_are_enough(tmp_path, figures, folds):
    histories = [{"loss": [0.5], "val_loss": [0.4]}] * folds
    image_size(plot_tuning(histories, 0.33, WAY[:1], 0.0, tmp_path / "t.png"))
    assert_nothing_is_cut_off(figures[0])
    losses = figures[0].axes[0]
    left, right = losses.get_xlim()
    assert [tick for tick in losses.get_xticks() if left <= tick <= right] == [1]
    labels = {line.get_label() for line in losses.lines}
    several = {"each fold", "validation, mean", "training, mean", "frozen start"}
    assert labels == (several if folds > 1 else {"validation", "training", "frozen start"})


@pytest.mark.parametrize(
    ("histories", "way", "chosen", "words"),
    [
        ([], WAY, 0.5, r"val_loss for each epoch, received lengths \[\]"),
        ([{"loss": [1.0]}], WAY, 0.5, r"received lengths \[\(1, 0\)\]"),
        ([{"loss": [], "val_loss": []}], WAY, 0.5, r"received lengths \[\(0, 0\)\]"),
        (FOLDS, [], 0.0, "shares ascending"),
        (FOLDS, WAY[::-1], 0.5, "shares ascending"),
        (FOLDS, [(0.0, 0.3, 0.1)], 0.0, r"received shape \(1, 3\)"),
        (FOLDS, WAY, 0.4, "the chosen share among .*, received 0.4"),
    ],
)
def test_tuning_that_does_not_fit_is_refused(tmp_path, histories, way, chosen, words):
    with pytest.raises(ValueError, match=words):
        plot_tuning(histories, 0.33, way, chosen, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


# ---- changes


@pytest.fixture(scope="module")
def photographs():
    data = pytest.importorskip("skimage.data")
    return [data.chelsea(), data.camera(), data.coffee()[..., :1], data.astronaut(), data.rocket()]


def framed(figure, colour):
    """The images with frames of a colour."""
    return [
        axes.images[0].get_array() for axes in figure.axes
        if axes.images and to_hex(axes.spines["left"].get_edgecolor()) == colour.lower()
    ]  # fmt: skip


def test_changes_tell_gains_from_losses(photographs, svg, figures):
    truths = ["cat", "man", "cup", "woman", "rocket"]
    before = ["dog", "man", "pot", "woman", "tower"]
    after = ["cat", "tripod", "cup", "woman", "tree"]
    assert plot_changes(photographs, truths, before, after, svg) == svg
    said = texts(svg)
    assert {
        "What fine-tuning changed among 5 images (1 more from wrong to wrong)",
        "wrong before, right now: 2", "right before, wrong now: 1",
        "true: cat", "dog → cat", "true: cup", "pot → cup", "true: man", "man → tripod",
    } == set(said)  # fmt: skip
    gains, losses = framed(figures[0], RIGHT_COLOUR), framed(figures[0], WRONG_COLOUR)
    assert [image.shape for image in gains] == [photographs[0].shape, photographs[2].shape[:2]]
    np.testing.assert_array_equal(gains[0], photographs[0])
    np.testing.assert_array_equal(losses[0], photographs[1])


@pytest.mark.parametrize(
    ("gained", "lost", "words"),
    [
        (0, 0, {"wrong before, right now: none", "right before, wrong now: none"}),
        (1, 0, {"wrong before, right now: 1", "right before, wrong now: none"}),
        (0, 7, {"wrong before, right now: none", "right before, wrong now: 7"}),
        (
            13,
            12,
            {"wrong before, right now: 13, the first 12 shown", "right before, wrong now: 12"},
        ),
    ],
)
def test_any_number_of_changes_has_room(photographs, tmp_path, figures, gained, lost, words):
    count = gained + lost
    names = ["w" * 30, "a very long $name$ of a class"]
    truths, before = [names[0]] * count, [names[1]] * gained + [names[0]] * lost
    after = [names[0]] * gained + [names[1]] * lost
    path = plot_changes((photographs * 5)[:count], truths, before, after, tmp_path / "c.png")
    width, height = image_size(path)
    assert max(width, height) < 1400
    assert_nothing_is_cut_off(figures[0])
    assert_all_texts_are_apart(figures[0])
    assert words <= {text for text, _ in text_boxes(figures[0])}
    assert len(framed(figures[0], RIGHT_COLOUR)) == min(12, gained)
    assert len(framed(figures[0], WRONG_COLOUR)) == lost


def test_names_are_cut_no_shorter_than_they_must(tmp_path, figures):
    image, name = np.zeros((4, 4), np.uint8), "miniature poodle"
    other = "i" * 40
    plot_changes([image], [name], [other], [name], tmp_path / "c.png")
    said = {text for text, _ in text_boxes(figures[0])}
    (caption,) = [text for text in said if text.startswith("true")]
    true, change = caption.split("\n")
    assert true == f"true: {name}"
    before, after = change.split(" → ")
    assert before[-1] == "…"
    assert before[:-1] in other
    assert name.startswith(after.rstrip("…"))
    assert len(before) > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truths": ["cat"]}, "received 2, 1, 2, 2, and 12"),
        ({"most": 0}, "most from 1, received 2, 2, 2, 2, and 0"),
        ({"images": [np.zeros((4, 4, 3), np.float32)] * 2}, r"uint8 images .*received float32"),
        ({"images": [np.zeros((4, 4, 4), np.uint8)] * 2}, r"received uint8 \(4, 4, 4\)"),
        ({"images": [np.zeros(4, np.uint8)] * 2}, r"received uint8 \(4,\)"),
    ],
)
def test_changes_that_do_not_fit_are_refused(tmp_path, change, words):
    arguments = {
        "images": [np.zeros((4, 4), np.uint8)] * 2, "truths": ["cat"] * 2, "before": ["dog"] * 2,
        "after": ["cat"] * 2, "path": tmp_path / "x.png", "most": 12,
    }  # fmt: skip
    with pytest.raises(ValueError, match=words):
        plot_changes(**{**arguments, **change})
    assert not (tmp_path / "x.png").exists()

"""Curves: of a history, of rungs, of a range of rates."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.transfer.pictures.drawing import (
    assert_nothing_is_cut_off,
    assert_texts_are_apart,
    image_size,
    lines,
    text_boxes,
    texts,
)
from transfer.pictures.curves import (
    BEST_COLOUR,
    DROPPED_COLOUR,
    END_COLOUR,
    HEAD_COLOUR,
    plot_history,
    plot_rate_range,
    plot_rungs,
)

HISTORY = {
    "loss": [1.5, 1.0, 0.75, 0.5],
    "val_loss": [1.6, 1.1, 0.9, 0.95],
    "accuracy": [0.4, 0.6, 0.7, 0.8],
    "val_accuracy": [0.35, 0.55, 0.65, 0.66],
    "learning_rate": [0.1, 0.01, 0.001, 0.0001],
}


# ---- history


def test_history_shows_both_splits_the_rate_and_the_best_epoch(svg, figures):
    assert plot_history(HISTORY, svg, best_epoch=2) == svg
    said = texts(svg)
    assert {"loss", "accuracy", "learning rate", "train", "validation", "epoch"} <= set(said)
    assert {"best epoch 3: 0.9", "best epoch 3: 0.65"} <= set(said)
    loss, accuracy, rate = figures[0].axes
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        train, val = axes.lines[:2]
        assert list(train.get_ydata()) == HISTORY[name]
        assert list(val.get_ydata()) == HISTORY[f"val_{name}"]
        assert list(train.get_xdata()) == [1, 2, 3, 4]
        assert [line.get_label() for line in (train, val)] == ["train", "validation"]
        assert train.get_color() != val.get_color()
    assert list(rate.lines[0].get_ydata()) == HISTORY["learning_rate"]


def test_history_draws_what_there_is(tmp_path, svg, figures):
    width, height = image_size(plot_history(HISTORY, tmp_path / "three.png", best_epoch=1))
    assert 2.5 < width / height < 5
    assert_nothing_is_cut_off(figures[0])
    plot_history({"loss": [0.5], "top5": [0.9]}, svg, best_epoch=None)
    said = texts(svg)
    assert "loss" in said
    assert not {"accuracy", "learning rate", "validation"} & set(said)
    assert not [text for text in said if "best" in text]


def test_epochs_are_whole_numbers(tmp_path, figures):
    plot_history({"loss": [0.5]}, tmp_path / "one.png", best_epoch=0)
    axes = figures[0].axes[0]
    shown = [t for t in axes.get_xticks() if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    assert shown == [1]


@pytest.mark.parametrize(
    ("history", "best_epoch", "words"),
    [
        ({"accuracy": [1.0]}, None, "with loss"),
        ({"loss": []}, None, "one value an epoch"),
        ({"loss": [1.0, 2.0], "val_loss": [1.0]}, None, "one value an epoch"),
        (HISTORY, 4, "from 0 to 3, received 4"),
        (HISTORY, -1, "received -1"),
    ],
)
def test_histories_that_do_not_fit_are_refused(tmp_path, history, best_epoch, words):
    with pytest.raises(ValueError, match=words):
        plot_history(history, tmp_path / "x.png", best_epoch=best_epoch)
    assert not (tmp_path / "x.png").exists()


# ---- rungs


def rising(epochs, height):
    done = np.arange(1, epochs + 1)
    return done, height - 0.4 * height * np.exp(-done / 3)


def colour(line):
    return to_hex(line.get_color()).upper()


def test_rungs_tell_survivors_from_dropped_heads(tmp_path, figures):
    curves = [rising(3, 0.5), rising(27, 0.8), rising(9, 0.7), rising(27, 0.9), rising(3, 0.6)]
    path = plot_rungs(curves, tmp_path / "r.png")
    assert image_size(path)[0] > 600
    assert_nothing_is_cut_off(figures[0])
    assert_texts_are_apart(figures[0])
    (axes,) = figures[0].axes
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
    said = {text for text, _ in text_boxes(figures[0])}
    assert {
        "ended earlier: 3", "trained to epoch 27: 2",
        f"best head: {curves[3][1][-1]:.4f} after epoch 27",
    } <= said  # fmt: skip
    assert not [text for text in said if "not shown" in text]


def test_the_best_is_the_highest_point_even_of_a_head_that_ended_early(tmp_path, figures):
    plot_rungs(
        [([1, 2], [0.5, 0.6]), ([1, 3, 9], [0.5, 0.55, 0.5]), ([1], [0.4])], tmp_path / "r.png"
    )
    assert "best head: 0.6000 after epoch 2" in {text for text, _ in text_boxes(figures[0])}


def test_diverged_heads_do_not_squeeze_the_others(tmp_path, figures):
    good = [rising(27 if i < 30 else 9, 0.85 + 0.001 * i) for i in range(90)]
    diverged = [(np.arange(1, 4), np.full(3, 0.1)) for _ in range(10)]
    broken = [(np.arange(1, 4), np.array([0.6, np.nan, np.nan]))]
    plot_rungs([*diverged, *good, *broken], tmp_path / "r.png")
    (axes,) = figures[0].axes
    low, high = axes.get_ylim()
    assert 0.3 < low < min(curve[1].min() for curve in good)
    assert high > max(curve[1].max() for curve in good)
    (note,) = [text.get_text() for text in axes.texts]
    assert note == f"not shown: 10 of 101 heads where below {low:.3f}"
    assert_nothing_is_cut_off(figures[0])
    box = axes.texts[0].get_window_extent()
    assert axes.bbox.x0 < box.x0 < box.x1 < axes.bbox.x1


@pytest.mark.parametrize(
    "curves", [[([1], [0.5])], [([0.5, 1], [0.0, 1.0])], [([1], [0.5]), ([1], [np.nan])]]
)
def test_the_least_of_rungs_can_be_drawn(tmp_path, figures, curves):
    image_size(plot_rungs(curves, tmp_path / "r.png"))
    low, high = figures[0].axes[0].get_ylim()
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


def test_the_range_marks_suggestion_and_divergence(tmp_path, figures):
    rates = np.geomspace(1e-6, 10, 50)
    losses = 2.3 - 1.8 / (1 + (1e-3 / rates)) + (rates / 0.1) ** 2
    losses[-3:] = np.nan, np.inf, 1e30
    path = plot_rate_range(rates, losses, 2.5e-4, tmp_path / "l.png")
    assert image_size(path)[0] > 500
    assert_nothing_is_cut_off(figures[0])
    assert_texts_are_apart(figures[0])
    (axes,) = figures[0].axes
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


def test_without_divergence_there_are_no_crosses(tmp_path, figures):
    plot_rate_range(np.geomspace(1e-4, 1, 9), np.linspace(2, 1, 9), 0.1, tmp_path / "l.png")
    said = [text for text, _ in text_boxes(figures[0])]
    assert "suggested: 0.1" in said
    assert not [text for text in said if "diverged" in text]


def test_one_finite_loss_is_enough(tmp_path, figures):
    rates, losses = np.array([1e-4, 1e-3, 1e-2]), np.array([np.nan, 2.0, np.inf])
    image_size(plot_rate_range(rates, losses, 1e-3, tmp_path / "l.png"))
    assert len(lines(figures[0].axes[0], "diverged: 2")) == 1


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

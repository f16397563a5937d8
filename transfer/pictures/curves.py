"""Scores against epochs and learning rates: one training, the rungs of a sweep, a rate range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.pictures import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN_COLOUR, VAL_COLOUR, EPOCH_COLOUR = figures.BLUE, figures.ORANGE, "#444444"
HEAD_COLOUR, BEST_COLOUR, MARK_COLOUR = figures.BLUE, figures.ORANGE, "#222222"
DROPPED_COLOUR, END_COLOUR = "#999999", "#555555"


def plot_history(
    history: Mapping[str, Sequence[float]], path: Path, *, best_epoch: int | None
) -> Path:
    """Draws loss, accuracy and, where recorded, the learning rate over the epochs.

    Args:
        history: Per epoch `loss`, and where present `val_loss` (nats), `accuracy`,
            `val_accuracy` (0-1) and `learning_rate`; other entries are not drawn.
        path: Where the picture goes.
        best_epoch: Index into the history of the epoch to mark; the axis counts from 1.

    Returns:
        The path.

    Raises:
        ValueError: If there is no `loss`, lengths differ, or the best epoch is outside.
    """
    num_epochs = _check_history(history, best_epoch)
    panels = [name for name in ("loss", "accuracy", "learning_rate") if name in history]
    figure = figures.make(4.6 * len(panels), 3.6)
    epochs = range(1, num_epochs + 1)
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        lines = [(name, "train", TRAIN_COLOUR), (f"val_{name}", "validation", VAL_COLOUR)]
        for key, label, colour in lines:
            if key in history:
                axes.plot(epochs, history[key], marker=".", color=colour, label=label)
        if best_epoch is not None:
            best = history.get(f"val_{name}", history[name])[best_epoch]
            axes.axvline(best_epoch + 1, color=EPOCH_COLOUR, linestyle=":", linewidth=1.2)
            axes.plot(best_epoch + 1, best, "o", color=EPOCH_COLOUR, fillstyle="none", markersize=9,
                      label=f"best epoch {best_epoch + 1}: {best:.4g}")  # fmt: skip
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        if name != "learning_rate":
            axes.legend(fontsize="small")
    return figures.save(figure, path)


def _check_history(history: Mapping[str, Sequence[float]], best_epoch: int | None) -> int:
    if "loss" not in history:
        raise ValueError(f"expected a history with loss, received {sorted(history)}")
    lengths = {name: len(values) for name, values in history.items()}
    num_epochs = lengths["loss"]
    if num_epochs == 0 or set(lengths.values()) != {num_epochs}:
        raise ValueError(f"expected one value an epoch under each name, received {lengths}")
    if best_epoch is not None and not 0 <= best_epoch < num_epochs:
        raise ValueError(f"expected a best epoch from 0 to {num_epochs - 1}, received {best_epoch}")
    return num_epochs


def plot_rungs(curves: Sequence[tuple[Sequence[float], Sequence[float]]], path: Path) -> Path:
    """Draws how the validation accuracy of every head rose, and which were dropped early.

    Heads that end before the last epoch are grey with a dot at their end, the others coloured; the
    head with the highest point of all is thick. Points far below the others are cut off, which a
    note says.

    Args:
        curves: One a head: epochs done, ascending, and validation accuracy (0-1) after each.
            Accuracies that are not finite are left out.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If a curve is empty or its lengths differ, or no accuracy is finite.
    """
    from matplotlib.ticker import MaxNLocator

    lines = [_check_curve(*curve) for curve in curves]
    finite = [accuracies[np.isfinite(accuracies)] for _, accuracies in lines]
    lowest = np.array([accuracies.min() for accuracies in finite if len(accuracies)])
    if not len(lowest):
        raise ValueError(f"expected a finite accuracy, received {len(lines)} curves without")
    low, high = figures.score_limits(
        lowest, max(accuracies.max(initial=0) for accuracies in finite)
    )
    last = max(epochs[-1] for epochs, _ in lines)
    survivors = sum(epochs[-1] == last for epochs, _ in lines)

    figure = figures.make(7.5, 4.8)
    axes = figure.subplots()
    for epochs, accuracies in lines:
        if epochs[-1] == last:
            label = f"trained to epoch {last:g}: {survivors}"
            axes.plot(epochs, accuracies, color=HEAD_COLOUR, linewidth=0.9, alpha=0.6, zorder=3,
                      label=label)  # fmt: skip
        else:
            label = f"ended earlier: {len(lines) - survivors}"
            axes.plot(epochs, accuracies, color=DROPPED_COLOUR, linewidth=0.8, alpha=0.6)
            # Above the lines of the others, which would hide where these end.
            axes.plot(epochs[-1], accuracies[-1], "o", color=END_COLOUR, markersize=2.5, zorder=4,
                      label=label)  # fmt: skip
    _draw_best(axes, lines)
    cut_off = int((lowest < low).sum())
    if cut_off:
        axes.text(0.985, 0.03, f"not shown: {cut_off} of {len(lines)} heads where below {low:.3f}",
                  transform=axes.transAxes, horizontalalignment="right", fontsize=9,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
                  zorder=6)  # fmt: skip
    axes.set(xlabel="epochs done", ylabel="validation accuracy", ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    figures.add_legend(figure, [axes])
    return figures.save(figure, path)


def _check_curve(
    epochs: Sequence[float], accuracies: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    if not len(epochs) or len(epochs) != len(accuracies):
        raise ValueError(
            "expected curves with an accuracy for each of at least one epoch, "
            f"received {len(epochs)} epochs and {len(accuracies)} accuracies"
        )
    return np.asarray(epochs, float), np.asarray(accuracies, float)


def _draw_best(axes: Axes, lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    heights = [np.where(np.isfinite(accuracies), accuracies, -1) for _, accuracies in lines]
    best = int(np.argmax([height.max() for height in heights]))
    epochs, accuracies = lines[best]
    top = int(heights[best].argmax())
    axes.plot(epochs, accuracies, color=BEST_COLOUR, linewidth=2.5, zorder=5,
              label=f"best head: {accuracies[top]:.4f} after epoch {epochs[top]:g}")  # fmt: skip
    axes.plot(epochs[top], accuracies[top], "o", color=BEST_COLOUR, markersize=7, zorder=5)


def plot_rate_range(rates: np.ndarray, losses: np.ndarray, suggestion: float, path: Path) -> Path:
    """Draws the loss against the learning rate, with the rate that is suggested.

    Losses that are not finite, or above twice the first, are crosses at the top.

    Args:
        rates: `(steps,)` float, learning rates, above 0.
        losses: `(steps,)` float, the loss (nats) at each.
        suggestion: The learning rate to mark.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If the lengths differ, a rate is not above 0, or no loss is finite.
    """
    rates, losses = np.asarray(rates, float), np.asarray(losses, float)
    if rates.shape != losses.shape or rates.ndim != 1:
        raise ValueError(
            f"expected a loss for each of {rates.shape} rates, received {losses.shape}"
        )
    if not min(suggestion, *rates) > 0:
        raise ValueError(f"expected rates above 0, received {min(suggestion, *rates)}")
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        raise ValueError(f"expected a finite loss, received {len(losses)} without")
    # The median of a few, for the very first batch may be an odd one.
    highest = max(2 * float(np.median(finite[:5])), float(finite.min()))
    diverged = ~(losses <= highest)
    shown = losses[~diverged]
    margin = 0.08 * max(shown.max() - shown.min(), 0.01)
    top = shown.max() + 2 * margin

    figure = figures.make(6.4, 4.2)
    axes = figure.subplots()
    axes.semilogx(rates, np.where(diverged, np.nan, losses), color=HEAD_COLOUR, marker=".",
                  label="loss")  # fmt: skip
    if diverged.any():
        axes.plot(rates[diverged], np.full(diverged.sum(), top - margin / 2), "x", markersize=6,
                  color=MARK_COLOUR, label=f"diverged: {diverged.sum()}")  # fmt: skip
    axes.axvline(suggestion, color=BEST_COLOUR, linestyle="--", linewidth=1.8,
                 label=f"suggested: {suggestion:.3g}")  # fmt: skip
    axes.set(xlabel="learning rate", ylabel="loss", ylim=(shown.min() - margin, top))
    axes.grid(alpha=0.3)
    figures.add_legend(figure, [axes])
    return figures.save(figure, path)

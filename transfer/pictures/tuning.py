"""What fine-tuning did: to the loss, and to which images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.pictures import figures
from transfer.pictures.predictions import RIGHT_COLOUR, WRONG_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

TRAIN_COLOUR, VAL_COLOUR, START_COLOUR = figures.BLUE, figures.ORANGE, "#444444"
CHOSEN_COLOUR = "#222222"
MOST_COLUMNS, LEAST_COLUMNS = 6, 4
CELL = 1.75
"""Inches of width that an image and the text below it have."""
TEXT_SIZE = 8.5


def plot_tuning(
    histories: Sequence[Mapping[str, Sequence[float]]],
    start_loss: float,
    interpolation: Sequence[tuple[float, float, float, float]],
    chosen: float,
    path: Path,
) -> Path:
    """Draws the losses over the epochs, and over the way from the start's weights to the end's.

    Of several folds each validation loss is a thin line, and the means are bold, as far as all
    folds went.

    Args:
        histories: One a fold: `loss` and `val_loss` (nats) per epoch; other entries are not drawn.
        start_loss: Validation log loss (nats) before the first epoch.
        interpolation: One a point: share of the way (0-1, ascending), log loss (nats), the
            standard error of its difference to the start's (nats), and accuracy (0-1).
        chosen: The share to mark, one of those.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If there is no history or one without an epoch or a `val_loss`, shares do not
            ascend within 0-1, or the chosen one is not among them.
    """
    points = _check_tuning(histories, interpolation, chosen)
    figure = figures.make(10.5, 4.6)
    left, right = figure.subfigures(1, 2, squeeze=False, wspace=0.03)[0]
    losses = left.subplots()
    _draw_epochs(losses, histories, start_loss)
    accuracy, way = right.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    _draw_way(accuracy, way, points, chosen, start_loss)
    figures.add_legend(left, [losses], columns=2)
    figures.add_legend(right, [way], columns=2)
    figure.suptitle(_in_plain_words(points, chosen, start_loss))
    return figures.save(figure, path)


def _check_tuning(
    histories: Sequence[Mapping[str, Sequence[float]]],
    interpolation: Sequence[tuple[float, float, float, float]],
    chosen: float,
) -> np.ndarray:
    """The interpolation as `(points, 4)` float."""
    lengths = [(len(one.get("loss", ())), len(one.get("val_loss", ()))) for one in histories]
    if not lengths or any(loss != val_loss or not loss for loss, val_loss in lengths):
        raise ValueError(
            f"expected histories with loss and val_loss for each epoch, received lengths {lengths}"
        )
    points = np.array(interpolation, float)
    shares = points[:, 0] if points.ndim == 2 and points.shape[1] == 4 else np.array([])
    if not len(shares) or shares[0] < 0 or shares[-1] > 1 or np.any(np.diff(shares) <= 0):
        raise ValueError(
            "expected points of share, loss, error and accuracy, shares ascending from 0 to 1, "
            f"received shape {points.shape}, shares {shares}"
        )
    if chosen not in shares:
        raise ValueError(f"expected the chosen share among {shares}, received {chosen}")
    return points


def _in_plain_words(points: np.ndarray, chosen: float, start_loss: float) -> str:
    if chosen == 0:
        return (
            f"Fine-tuning did not help: the frozen start stays, at a log loss of {start_loss:.4f}"
        )
    loss = points[points[:, 0] == chosen, 1][0]
    verb = "lowers" if loss < start_loss else "raises"
    taken = "all of the change" if chosen == 1 else f"{chosen:.0%} of the change"
    return f"Fine-tuning, {taken} taken, {verb} the log loss from {start_loss:.4f} to {loss:.4f}"


def _draw_epochs(
    axes: Axes, histories: Sequence[Mapping[str, Sequence[float]]], start_loss: float
) -> None:
    from matplotlib.ticker import MaxNLocator

    shortest = min(len(history["loss"]) for history in histories)
    folds, mean = len(histories), ", mean" if len(histories) > 1 else ""
    if folds > 1:
        for history in histories:
            axes.plot(range(1, len(history["val_loss"]) + 1), history["val_loss"],
                      color=VAL_COLOUR, linewidth=0.8, alpha=0.6, label="each fold")  # fmt: skip
    for name, label, colour, dashes in (
        ("val_loss", "validation", VAL_COLOUR, "-"),
        ("loss", "training", TRAIN_COLOUR, "--"),
    ):
        values = np.mean([history[name][:shortest] for history in histories], axis=0)
        # The dots are all there is to see of a single epoch.
        axes.plot(range(1, shortest + 1), values, dashes, marker=".", color=colour, linewidth=2.2,
                  label=label + mean)  # fmt: skip
    axes.axhline(start_loss, color=START_COLOUR, linestyle=":", linewidth=1.5, label="frozen start")
    axes.set(xlabel="epoch", ylabel="log loss", title="while it trained")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def _draw_way(
    accuracy: Axes, way: Axes, points: np.ndarray, chosen: float, start_loss: float
) -> None:
    shares, losses, errors, accuracies = points.T
    accuracy.plot(shares, 100 * accuracies, marker=".", color=RIGHT_COLOUR)
    accuracy.set(ylabel="accuracy, %", title="between the frozen and the tuned weights")
    accuracy.margins(y=0.2)
    way.errorbar(shares, losses, errors, marker=".", color=VAL_COLOUR, capsize=3, elinewidth=1,
                 label="validation ± standard error of\nits difference to the start")  # fmt: skip
    way.axhline(start_loss, color=START_COLOUR, linestyle=":", linewidth=1.5, label="frozen start")
    at = shares == chosen
    for axes, height in ((accuracy, 100 * accuracies[at]), (way, losses[at])):
        axes.axvline(chosen, color=CHOSEN_COLOUR, linestyle="--", linewidth=1)
        axes.plot(chosen, height, "o", color=CHOSEN_COLOUR, fillstyle="none", markersize=9,
                  label=f"chosen: {chosen:.0%}", zorder=5)  # fmt: skip
        axes.grid(alpha=0.3)
    way.set(xlabel="share of the change that is taken", ylabel="log loss", xlim=(-0.04, 1.04))
    way.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def plot_changes(
    images: Sequence[np.ndarray],
    truths: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    path: Path,
    most: int = 12,
    judged: int | None = None,
) -> Path:
    """Draws the images whose class fine-tuning got right, and those that it lost.

    Gains are green and come first, losses red. Below each stands the true class, and what it was
    taken for before and after.

    Args:
        images: `(height, width, 3)`, `(height, width, 1)` or `(height, width)` uint8, 0-255, any
            sizes.
        truths: True class of each.
        before: What each was taken for before.
        after: What each is taken for now.
        path: Where the picture goes.
        most: Images of each kind that are drawn, the first ones; the headings count all.
        judged: Images in all, where only those that changed are given.

    Returns:
        The path.

    Raises:
        ValueError: If the lengths differ, or an image to draw is no uint8 image.
    """
    lengths = [len(images), len(truths), len(before), len(after)]
    if len(set(lengths)) > 1 or most < 1:
        raise ValueError(
            "expected as many true classes, classes before and classes after as images, and most "
            f"from 1, received {', '.join(map(str, lengths))}, and {most}"
        )
    true, old, new = (np.array(names, object) for names in (truths, before, after))
    kinds = [
        ("wrong before, right now", RIGHT_COLOUR, np.flatnonzero((old != true) & (new == true))),
        ("right before, wrong now", WRONG_COLOUR, np.flatnonzero((old == true) & (new != true))),
    ]
    largest = min(most, max(len(rows) for _, _, rows in kinds))
    columns = min(MOST_COLUMNS, max(LEAST_COLUMNS, largest))
    heights = [_height([images[row] for row in rows[:most]], columns) for _, _, rows in kinds]
    figure = figures.make(CELL * columns, sum(heights) + 0.35)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    both = int(np.sum((old != new) & (old != true) & (new != true)))
    others = f" ({both} more from wrong to wrong)" if both else ""
    figure.suptitle(
        f"What fine-tuning changed among {judged or len(images)} images{others}", fontsize=11
    )
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (title, colour, rows) in zip(parts, kinds, strict=True):
        shown = rows[:most].tolist()
        _draw_heading(part, title, colour, len(rows), len(shown))
        cells = part.subplots(max(1, math.ceil(len(shown) / columns)), columns, squeeze=False)
        for axes in cells.ravel()[len(shown) :]:
            axes.axis("off")
        for axes, row in zip(cells.ravel(), shown, strict=False):
            _draw_image(axes, images[row], colour)
            axes.set_xlabel(_caption(truths[row], before[row], after[row]), fontsize=TEXT_SIZE,
                            parse_math=False)  # fmt: skip
    return figures.save(figure, path)


def _draw_heading(part: SubFigure, title: str, colour: str, count: int, shown: int) -> None:
    number = f"{count}, the first {shown} shown" if shown < count else f"{count or 'none'}"
    part.suptitle(f"{title}: {number}", color=colour, fontsize=11, weight="bold")


def _height(images: Sequence[np.ndarray], columns: int) -> float:
    """Inches that a heading and the images below it need."""
    for image in images:
        channels = image.shape[2:]
        if image.dtype != np.uint8 or image.ndim < 2 or channels not in ((), (1,), (3,)):
            raise ValueError(
                "expected uint8 images of shape (height, width), with 1 or 3 channels behind, "
                f"received {image.dtype} {image.shape}"
            )
    if not len(images):
        return 0.6
    tallest = max(min(1.0, image.shape[0] / image.shape[1]) for image in images)
    return 0.35 + (CELL * tallest + 0.35) * math.ceil(len(images) / columns)


def _draw_image(axes: Axes, image: np.ndarray, colour: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[], anchor="N")
    for edge in axes.spines.values():
        edge.set(color=colour, linewidth=3)


def _caption(truth: str, before: str, after: str) -> str:
    return f"{_fitted('true: {}', truth)}\n{_fitted('{} → {}', before, after)}"


def _fitted(line: str, *names: str) -> str:
    """The line with the names in it, as long as the cell is wide."""
    for limit in range(30, 2, -1):
        text = line.format(*(figures.shorten(name, limit) for name in names))
        if figures.text_width(text, TEXT_SIZE) < CELL - 0.15:
            break
    return text

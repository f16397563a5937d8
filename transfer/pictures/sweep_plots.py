"""Pictures of a sweep: its parameters, its rungs, its leaderboard, and a learning-rate range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.pictures import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, as in transfer.pictures.plots.
HEAD_COLOUR, BEST_COLOUR, MARK_COLOUR = "#0072B2", "#D55E00", "#222222"
DROPPED_COLOUR, END_COLOUR = "#999999", "#555555"
HEADER_FILL, FIRST_ROW_FILL, OTHER_FILL = "#e6e6e6", "#fde3c0", "#ffffff"

LOG_FACTOR = 20
"""Positive numbers that span more than this stand on a logarithmic axis, unless most are large: of
numbers drawn evenly between 0 and 0.5, too, the smallest is some hundred times below the largest.
"""
MOST_STRIPS = 8
"""Parameters with at most so many numbers or names show each as a strip."""
MOST_PANELS_A_ROW = 4
MOST_ROWS = 20

ABSENT, DEFAULT = "absent", "default"

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 3.1  # inches
TICK_SIZE, CELL_SIZE, TITLE_SIZE = 8.5, 9.5, 12  # points
ROW_HEIGHT, CELL_PADDING, MARGIN = 0.29, 0.12, 0.2  # inches


# ---- parameters


@dataclass
class _Panel:
    """Where heads stand along the axis of one parameter, in units of its own.

    Attributes:
        positions: `(heads,)` float64.
        ticks: Position -> label.
        minor_ticks: Positions.
        strips: Position -> half the width, of what is drawn with jitter, median and best.
        edges: Between the axis of numbers and what stands beside it.
    """

    positions: np.ndarray
    ticks: dict[float, str]
    minor_ticks: list[float] = field(default_factory=list)
    strips: dict[float, float] = field(default_factory=dict)
    edges: list[float] = field(default_factory=list)


def plot_parameters(
    points: Sequence[Mapping[str, Any]], accuracies: Sequence[float], path: Path
) -> Path:
    """Draws the validation accuracy of every head against each parameter that varies.

    Numbers, one-layer tuples included, stand on an axis; where they span more than a factor of 20,
    and do not crowd at its upper end, it is logarithmic and zero stands to its left. Names and
    longer tuples stand in strips, as do None (`default`) and what a point lacks (`absent`). Strips
    show their median and best head. The best of all is ringed in each panel. Heads far below the
    others are drawn at the lower edge.

    Args:
        points: One a head: name -> number, bool, str, None, or tuple (or list) of numbers or str.
        accuracies: One a head, validation accuracy, 0-1.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If the lengths differ, an accuracy is not within 0-1, or no parameter varies.
    """
    scores = _check_scores(points, accuracies)
    panels = _panels(points, scores)
    if not panels:
        raise ValueError(f"expected a parameter that varies, received {len(points)} points alike")
    rows = math.ceil(len(panels) / MOST_PANELS_A_ROW)
    columns = math.ceil(len(panels) / rows)
    figure = figures.make(max(6.0, PANEL_WIDTH * columns), PANEL_HEIGHT * rows + 0.9)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.08)
    cells = figure.subplots(rows, columns, squeeze=False, sharey=True)
    low, high = _limits(scores, float(scores.max()))
    for axes, (name, panel) in zip(cells.ravel(), panels.items(), strict=False):
        _draw_panel(axes, panel, scores, low, high)
        axes.set_title(name.replace("_", " "), fontsize=11, parse_math=False)
    for axes in cells.ravel()[len(panels) :]:
        axes.axis("off")
    for axes in cells[:, 0]:
        axes.set_ylabel("validation accuracy")
        axes.set_ylim(low, high)
    cut_off = int((scores < low).sum())
    note = f"; {cut_off} below {low:.3f}, at the lower edge" if cut_off else ""
    figure.suptitle(f"{len(scores)} heads, the best at {scores.max():.4f}{note}")
    _add_legend(figure, cells.ravel()[: len(panels)])
    return figures.save(figure, path)


def _check_scores(points: Sequence[object], accuracies: Sequence[float]) -> np.ndarray:
    scores = np.asarray(accuracies, float)
    if len(points) != len(scores):
        raise ValueError(
            f"expected an accuracy for each of {len(points)} points, received {len(scores)}"
        )
    outside = scores[~((scores >= 0) & (scores <= 1))]
    if len(outside):
        raise ValueError(f"expected accuracies from 0 to 1, received {outside[0]}")
    return scores


def _panels(points: Sequence[Mapping[str, Any]], scores: np.ndarray) -> dict[str, _Panel]:
    panels = {}
    for name in dict.fromkeys(name for point in points for name in point):
        values = [_hashable(point.get(name, ABSENT)) for point in points]
        numbers = {value: _number(value) for value in set(values) - {ABSENT, DEFAULT}}
        panel = None
        if None not in numbers.values() and len(set(numbers.values())) > 1:
            panel = _number_panel(values, numbers)
        if len(set(values)) > 1:
            panels[name] = panel or _name_panel(values, scores)
    return panels


def _hashable(value: Any) -> Any:
    """The value; None as a word, and the lists that JSON makes of tuples as tuples."""
    return DEFAULT if value is None else tuple(value) if isinstance(value, list) else value


def _number(value: Any) -> float | None:
    """A number, also that of a tuple of at most one; None for anything else."""
    if isinstance(value, tuple) and len(value) < 2:
        return _number(value[0]) if value else 0.0
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _number_panel(values: Sequence[Any], numbers: Mapping[Any, Any]) -> _Panel | None:
    """An axis of numbers, or None where few of them stand so close that strips would overlap.

    Args:
        values: One a head.
        numbers: The number of each value that is one.
    """
    different = sorted(set(numbers.values()))
    positive = [number for number in different if number > 0]
    is_log = different[0] >= 0 and _spans_magnitudes(positive)
    places = {
        one: math.log10(one) if is_log else one for one in (positive if is_log else different)
    }
    low, high = min(places.values()), max(places.values())
    span = high - low
    minor_ticks: list[float] = []
    strips: dict[float, float] = {}
    if len(places) <= MOST_STRIPS:
        gap = min(right - left for left, right in pairwise(places.values()))
        if gap < 0.08 * span:
            return None
        ticks = {place: _in_words(number) for number, place in places.items()}
        strips = dict.fromkeys(places.values(), min(0.05 * span, 0.35 * gap))
    elif is_log:
        ticks, minor_ticks = _log_ticks(low, high)
    else:
        ticks = _linear_ticks(low, high)

    # Beside the axis: zero, which has no logarithm, and what is no number.
    beside = {0.0: low - 0.2 * span} if is_log and different[0] == 0 else {}
    words = {word: high + 0.2 * span * i for i, word in enumerate(_words_in(values), start=1)}
    edges = ([low - 0.1 * span] if beside else []) + ([high + 0.1 * span] if words else [])
    ticks = _apart(ticks, 0.08 * span) | dict.fromkeys(beside.values(), "0")
    ticks |= {place: word for word, place in words.items()}
    strips |= dict.fromkeys([*beside.values(), *words.values()], 0.05 * span)
    of_value = {value: (places | beside)[number] for value, number in numbers.items()} | words
    positions = np.array([of_value[value] for value in values])
    return _Panel(positions, ticks, minor_ticks, strips, edges)


def _spans_magnitudes(positive: Sequence[float]) -> bool:
    """Whether ascending numbers are better shown by their logarithm."""
    if not positive or positive[-1] <= LOG_FACTOR * positive[0]:
        return False
    middle = positive[(len(positive) - 1) // 2]
    return middle < positive[-1] / 4


def _name_panel(values: Sequence[Any], scores: np.ndarray) -> _Panel:
    """A strip a name; beyond so many, those with the best heads have one of their own."""
    best: dict[Any, float] = {}
    for value, score in zip(values, scores, strict=True):
        best[value] = max(score, best.get(value, 0))
    words = _words_in(values)
    names = sorted(set(values) - set(words), key=lambda name: -best[name])
    kept = names if len(names) <= MOST_STRIPS else names[: MOST_STRIPS - 1]
    labels = {name: figures.shorten(_in_words(name), 18) for name in sorted(kept, key=_sorting_key)}
    if len(kept) < len(names):
        others = f"{len(names) - len(kept)} others"
        labels |= dict.fromkeys([others], others)
    labels |= {word: word for word in words}
    of_name = {name: float(place) for place, name in enumerate(labels)}
    positions = np.array(
        [of_name[value] if value in of_name else of_name[others] for value in values]
    )
    ticks = {of_name[name]: label for name, label in labels.items()}
    return _Panel(positions, ticks, strips=dict.fromkeys(ticks, 0.3))


def _words_in(values: Sequence[Any]) -> list[str]:
    return [word for word in (DEFAULT, ABSENT) if word in values]


def _sorting_key(name: Any) -> tuple:
    """Fewer layers first, numbers by size, all else by the alphabet."""
    parts = name if isinstance(name, tuple) else (name,)
    keys = [(0, part, "") if isinstance(part, Real) else (1, 0, str(part)) for part in parts]
    return len(parts), keys


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(_in_words, value)) or "none"
    if isinstance(value, Real):
        return f"{float(value):.4g}".replace("e-0", "e-").replace("e+0", "e")
    return str(value)


def _log_ticks(low: float, high: float) -> tuple[dict[float, str], list[float]]:
    """Ticks between powers of ten: the powers, with few of them also twice and five times."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    step = math.ceil((high - low) / 5)
    factors = (1, 2, 5) if high - low < 2 else (1,)
    major = [factor * 10.0**power for power in powers[::step] for factor in factors]
    minor = [factor * 10.0**power for power in powers for factor in range(1, 10)]
    return (
        {math.log10(tick): _in_words(tick) for tick in major if low <= math.log10(tick) <= high},
        [math.log10(tick) for tick in minor if low <= math.log10(tick) <= high],
    )


def _linear_ticks(low: float, high: float) -> dict[float, str]:
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return {float(tick): _in_words(float(tick)) for tick in ticks if low <= tick <= high}


def _apart(ticks: Mapping[float, str], distance: float) -> dict[float, str]:
    """The ticks, less those that stand too near to one on their left."""
    kept: dict[float, str] = {}
    for place in sorted(ticks):
        if not kept or place - max(kept) >= distance:
            kept[place] = ticks[place]
    return kept


def _draw_panel(axes: Axes, panel: _Panel, scores: np.ndarray, low: float, high: float) -> None:
    widths = np.array([panel.strips.get(place, 0.0) for place in panel.positions])
    shown, best = scores >= low, int(scores.argmax())
    jitter = np.random.default_rng(0).uniform(-1, 1, len(scores))
    jitter[best] = 0
    x = panel.positions + widths * jitter
    dots: dict[str, Any] = {"linewidth": 0, "alpha": 0.45}
    axes.scatter(x[shown], scores[shown], 16, color=HEAD_COLOUR, label="head", **dots)
    if not shown.all():
        at_edge = np.full(int((~shown).sum()), low + 0.025 * (high - low))
        axes.scatter(x[~shown], at_edge, 28, color=MARK_COLOUR, marker="v",
                     label="far below", **dots)  # fmt: skip
    for place, width in panel.strips.items():
        inside = scores[panel.positions == place]
        if len(inside):
            ends = [place - 1.3 * width, place + 1.3 * width]
            axes.plot(ends, [np.median(inside)] * 2, color=MARK_COLOUR, linewidth=2,
                      label="median of a strip")  # fmt: skip
            axes.plot(place, inside.max(), "D", color=MARK_COLOUR, markersize=4,
                      label="best of a strip")  # fmt: skip
    axes.plot(x[best], scores[best], "o", color=BEST_COLOUR, fillstyle="none", markersize=11,
              markeredgewidth=2, label="best head")  # fmt: skip
    for edge in panel.edges:
        axes.axvline(edge, color=DROPPED_COLOUR, linestyle=":", linewidth=1)
    axes.grid(axis="y", alpha=0.3)
    _label_axis(axes, panel)


def _label_axis(axes: Axes, panel: _Panel) -> None:
    places = sorted(panel.ticks)
    ends = [*panel.positions, *places]
    margin = 0.06 * (max(ends) - min(ends)) + 1.3 * max(panel.strips.values(), default=0)
    left, right = min(ends) - margin, max(ends) + margin
    widths = {place: _text_width(panel.ticks[place], TICK_SIZE) + 0.06 for place in places}
    inches = 0.88 * PANEL_WIDTH / (right - left)
    collide = any(
        (widths[one] + widths[other]) / 2 > (other - one) * inches
        for one, other in pairwise(places)
    )
    turned: dict[str, Any] = {
        "rotation": 40, "horizontalalignment": "right", "rotation_mode": "anchor"
    }  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_xticks(places, [panel.ticks[place] for place in places], fontsize=TICK_SIZE,
                    parse_math=False, **(turned if collide else {}))  # fmt: skip
    axes.set_xticks(panel.minor_ticks, minor=True)


def _limits(lowest: np.ndarray, highest: float) -> tuple[float, float]:
    """Limits of an axis that cuts off heads far below the others, if that gains much room.

    Far is more than 1.5 times the quartiles' distance below the lower of them.
    Source: Tukey, Exploratory Data Analysis, 1977.

    Args:
        lowest: `(heads,)` the lowest accuracy of each.
        highest: Of all.
    """
    lower, upper = np.percentile(lowest, [25, 75])
    low = float(lowest[lowest >= lower - 1.5 * max(upper - lower, 0.01)].min())
    if highest - lowest.min() < 1.5 * (highest - low):
        low = float(lowest.min())
    margin = max(0.06 * (highest - low), 0.005)
    return low - margin, highest + margin


def _add_legend(figure: Figure, cells: Iterable[Axes]) -> None:
    """One legend for all panels, below them; each label once."""
    found: dict[str, Any] = {}
    for axes in cells:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(found.values(), found, loc="outside lower center", ncols=len(found), fontsize=9)


# ---- rungs


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
    low, high = _limits(lowest, max(accuracies.max(initial=0) for accuracies in finite))
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
    _add_legend(figure, [axes])
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


# ---- learning-rate range


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
    _add_legend(figure, [axes])
    return figures.save(figure, path)


# ---- leaderboard


def plot_leaderboard(
    columns: Sequence[str], rows: Sequence[Sequence[str]], path: Path, title: str
) -> Path:
    """Draws a table of the best heads; columns of numbers stand to the right.

    Args:
        columns: What stands above each column.
        rows: Cells as they are to be read, the best head first; the first 20 rows are drawn.
        path: Where the picture goes.
        title: Stands above it.

    Returns:
        The path.

    Raises:
        ValueError: If there are no rows or columns, or a row has another number of cells.
    """
    lengths = {len(row) for row in rows}
    if not columns or lengths != {len(columns)}:
        raise ValueError(
            f"expected rows of {len(columns)} cells, at least one, received {sorted(lengths)}"
        )
    columns = [figures.shorten(column.replace("_", " ")) for column in columns]
    rows = [[figures.shorten(cell, 28) for cell in row] for row in rows[:MOST_ROWS]]
    widths = [
        max(_text_width(cell, CELL_SIZE, "bold") for cell in cells) + 2 * CELL_PADDING
        for cells in zip(columns, *rows, strict=True)
    ]
    width = max(sum(widths), _text_width(title, TITLE_SIZE, "bold"))
    height = ROW_HEIGHT * (len(rows) + 1)
    page = width + 2 * MARGIN, height + 0.35 + 2 * MARGIN
    figure = figures.make(*page, constrained=False)
    axes = figure.add_axes(
        (MARGIN / page[0], MARGIN / page[1], sum(widths) / page[0], height / page[1])
    )
    axes.axis("off")
    figure.text(MARGIN / page[0], 1 - MARGIN / page[1], title, fontsize=TITLE_SIZE, weight="bold",
                verticalalignment="top", parse_math=False)  # fmt: skip
    _add_table(axes, columns, rows, widths)
    return figures.save(figure, path)


def _add_table(
    axes: Axes, columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float]
) -> None:
    from matplotlib.transforms import Bbox

    table = axes.table(
        cellText=[columns, *rows],
        colWidths=[width / sum(widths) for width in widths],
        bbox=Bbox.unit(),
    )
    table.auto_set_font_size(False)
    numeric = [_are_numbers(cells) for cells in zip(*rows, strict=True)]
    for (row, column), cell in table.get_celld().items():
        cell.PAD = CELL_PADDING / widths[column]  # a share of the cell's width
        cell.set(facecolor={0: HEADER_FILL, 1: FIRST_ROW_FILL}.get(row, OTHER_FILL),
                 edgecolor=HEADER_FILL)  # fmt: skip
        cell.set_text_props(horizontalalignment="right" if numeric[column] else "left",
                            fontsize=CELL_SIZE, weight="bold" if row < 2 else "normal",
                            parse_math=False)  # fmt: skip


def _text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches that a text covers."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, figures.DOTS_PER_INCH)
    font = FontProperties(weight=weight, size=size)
    width, _, _ = renderer.get_text_width_height_descent(text, font, ismath=False)
    return width / figures.DOTS_PER_INCH


def _are_numbers(cells: Iterable[str]) -> bool:
    """Whether a column is one of numbers, some of which may be missing."""
    return all(map(_is_number, set(cells) - {"", DEFAULT, ABSENT}))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").rstrip("%"))
    except ValueError:
        return False
    return True

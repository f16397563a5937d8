"""The accuracy of a sweep's heads against each option that the search varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.pictures import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAD_COLOUR, BEST_COLOUR, MARK_COLOUR = figures.BLUE, figures.ORANGE, "#222222"
EDGE_COLOUR = "#999999"

LOG_FACTOR = 20
"""Positive numbers that span more than this stand on a logarithmic axis, unless most are large: of
numbers drawn evenly between 0 and 0.5, too, the smallest is some hundred times below the largest.
"""
MOST_STRIPS = 8
"""Parameters with at most so many numbers or names show each as a strip."""
MOST_PANELS_A_ROW = 4

ABSENT, DEFAULT = "absent", "default"

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 3.1  # inches
TICK_SIZE = 8.5  # points


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
    low, high = figures.score_limits(scores, float(scores.max()))
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
    figures.add_legend(figure, cells.ravel()[: len(panels)])
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
        axes.axvline(edge, color=EDGE_COLOUR, linestyle=":", linewidth=1)
    axes.grid(axis="y", alpha=0.3)
    _label_axis(axes, panel)


def _label_axis(axes: Axes, panel: _Panel) -> None:
    places = sorted(panel.ticks)
    ends = [*panel.positions, *places]
    margin = 0.06 * (max(ends) - min(ends)) + 1.3 * max(panel.strips.values(), default=0)
    left, right = min(ends) - margin, max(ends) + margin
    widths = {place: figures.text_width(panel.ticks[place], TICK_SIZE) + 0.06 for place in places}
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

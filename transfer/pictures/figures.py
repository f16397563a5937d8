"""Figures on disk: how every picture is made and saved.

Figures are matplotlib's own objects, never pyplot's global state, so they need no display and work
in any thread. The suffix of the path chooses the format (.png, .svg, .pdf).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.machine.whole_files import whole_file
from transfer.names import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

DOTS_PER_INCH = 120
BLUE, ORANGE = "#0072B2", "#D55E00"
"""Of Okabe and Ito's palette, told apart by colour-blind readers too.

Source: https://jfly.uni-koeln.de/color/
"""


def make(width: float, height: float, *, constrained: bool = True) -> Figure:
    """An empty figure of `width` by `height` inches."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(width, height),
        dpi=DOTS_PER_INCH,
        layout="constrained" if constrained else None,
        facecolor="white",
    )


WIDE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Hiragino Sans"),
    *("Microsoft YaHei", "Malgun Gothic", "Noto Sans", "Arial Unicode MS"),
)
"""Fonts with letters that matplotlib's own lacks, where they are installed."""


def shorten(name: str, limit: int = 22) -> str:
    r"""The name as it can be drawn, or its first `limit - 1` characters and an ellipsis.

    Escaped is what would break a line, and letters that no font here has: `\u65e5`.
    """
    name = drawable(name)
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def drawable(name: str) -> str:
    """A name with escapes for what cannot be drawn; `$` and `_` are letters like others."""
    name = shown(name)
    if name.isascii():
        return name
    known = _letters()
    return "".join(
        letter if ord(letter) in known else letter.encode("unicode_escape").decode()
        for letter in name
    )


@cache
def _fonts() -> tuple[str, ...]:
    """Families that letters are looked for in, in this order."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return "DejaVu Sans", *(font for font in WIDE_FONTS if font in installed)


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(code for font in _fonts() for code in get_font(findfont(font)).get_charmap())


def save(figure: Figure, path: Path) -> Path:
    """Writes the picture, whole or not at all, makes missing folders, and returns the path."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfamily(_fonts())
    with whole_file(path) as temporary:
        # Named, because without a suffix matplotlib would add one.
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png", dpi=DOTS_PER_INCH)
    return path


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches that a text of `size` points covers, as it will be drawn."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    # Measured as it will be drawn: hinting makes small letters up to a fifth wider.
    renderer = RendererAgg(1, 1, DOTS_PER_INCH)
    font = FontProperties(weight=weight, size=size)
    width, _, _ = renderer.get_text_width_height_descent(text, font, ismath=False)
    return width / DOTS_PER_INCH


def score_limits(lowest: np.ndarray, highest: float) -> tuple[float, float]:
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


def add_legend(figure: FigureBase, cells: Iterable[Axes], columns: int | None = None) -> None:
    """One legend for all panels, below them, in one row or in columns; each label once."""
    found: dict[str, Any] = {}
    for axes in cells:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(found.values(), found, loc="outside lower center",
                  ncols=columns or len(found), fontsize=9)  # fmt: skip

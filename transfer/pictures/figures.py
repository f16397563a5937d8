"""Figures on disk: how every picture is made and saved.

Figures are matplotlib's own objects, never pyplot's global state, so they need no display and work
in any thread. The suffix of the path chooses the format (.png, .svg, .pdf).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def make(width: float, height: float, *, constrained: bool = True) -> Figure:
    """An empty figure of `width` by `height` inches."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(width, height),
        dpi=DOTS_PER_INCH,
        layout="constrained" if constrained else None,
        facecolor="white",
    )


def shorten(name: str, limit: int = 22) -> str:
    """The name, or its first `limit - 1` characters and an ellipsis."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def save(figure: Figure, path: Path) -> Path:
    """Writes the picture, makes missing folders, and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named, because without a suffix matplotlib would add one and the path would be wrong.
    figure.savefig(path, format=path.suffix.lstrip(".") or "png", dpi=DOTS_PER_INCH)
    return path

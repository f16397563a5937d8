"""How sure a classifier is against how often it is right, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.pictures import figures

if TYPE_CHECKING:
    from transfer.calibration import Reliability

BEFORE_COLOUR, AFTER_COLOUR, TRUE_COLOUR = "#777777", figures.BLUE, "#444444"
BINS = 20


def plot_reliability(
    curves: dict[str, Reliability], confidences: np.ndarray, path: Path, title: str
) -> Path:
    """Draws accuracy against confidence with 95 % intervals, and how many images are how sure.

    On the diagonal probabilities are true; below it a classifier is surer than it is right.

    Args:
        curves: By what the legend says; the last is the classifier as it is.
        confidences: `(images,)` its probabilities of the most probable class.
        path: Where the picture goes.
        title: Stands above it.

    Returns:
        The path.
    """
    figure = figures.make(5.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    upper.plot((0, 1), (0, 1), linestyle=":", color=TRUE_COLOUR, label="true probabilities")
    colours = [BEFORE_COLOUR] * (len(curves) - 1) + [AFTER_COLOUR]
    for (label, curve), colour in zip(curves.items(), colours, strict=True):
        spans = np.stack([curve.accuracy - curve.low, curve.high - curve.accuracy])
        upper.errorbar(curve.confidence, curve.accuracy, np.maximum(spans, 0), marker="o",
                       markersize=4, capsize=2, linewidth=1.2, elinewidth=0.8, color=colour,
                       label=label)  # fmt: skip
    upper.set(ylabel="share that is right", ylim=(0, 1.02))
    upper.set_title(figures.drawable(title), parse_math=False)
    upper.grid(alpha=0.3)
    upper.legend(loc="upper left", fontsize="small")
    lower.hist(confidences, np.linspace(0, 1, BINS + 1), color=AFTER_COLOUR)
    lower.set(xlabel="probability of the class that is named", ylabel="images", xlim=(0, 1.02))
    lower.grid(alpha=0.3)
    return figures.save(figure, path)

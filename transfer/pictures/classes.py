"""How many images classes have, and what more of them would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from transfer.pictures import figures

SPLIT_COLOURS = {"train": figures.BLUE, "val": "#56B4E9", "test": figures.ORANGE}
"""Of Okabe and Ito's palette, as the others."""
MOST_NAMED = 40
"""Classes whose names stand below their bars."""


def plot_balance(names: Sequence[str], counts: Mapping[str, Sequence[int]], path: Path) -> Path:
    """Draws how many images each class has, split by split.

    Args:
        names: Of the classes.
        counts: Images of each class, by split.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If a split has another number of classes, or there are none.
    """
    lengths = {len(values) for values in counts.values()}
    if not names or lengths != {len(names)}:
        raise ValueError(f"expected counts of {len(names)} classes, received {sorted(lengths)}")
    figure = figures.make(min(12.0, max(5.0, 0.35 * len(names) + 2)), 3.2)
    axes = figure.subplots()
    below = np.zeros(len(names))
    for split, values in counts.items():
        if any(values):
            axes.bar(range(len(names)), values, bottom=below, label=split,
                     color=SPLIT_COLOURS.get(split), width=0.8)  # fmt: skip
        below += values
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), [figures.shorten(name, 16) for name in names],
                        rotation=60 if len(names) > 4 else 0, parse_math=False,
                        ha="right" if len(names) > 4 else "center")  # fmt: skip
    else:
        axes.set(xticks=[], xlabel=f"{len(names)} classes")
    axes.set_ylabel("images")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figures.add_legend(figure, [axes])
    return figures.save(figure, path)


def plot_learning_curve(
    sizes: Sequence[float],
    accuracies: Sequence[float],
    now: tuple[float, float, float],
    twice: tuple[float, float, float],
    path: Path,
) -> Path:
    """Draws accuracy against the number of images, and what is foretold of twice as many.

    Args:
        sizes: Images per class that heads learned from, ascending.
        accuracies: 0-1, with each.
        now: Images per class that are there, the accuracy with them, and its standard error.
        twice: The same of twice as many.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If the lengths differ or there are none.
    """
    if not len(sizes) or len(sizes) != len(accuracies):
        raise ValueError(
            f"expected an accuracy for each size, received {len(sizes)} and {len(accuracies)}"
        )
    figure = figures.make(5.6, 3.4)
    axes = figure.subplots()
    axes.plot(sizes, accuracies, marker="o", color=figures.BLUE, label="measured")
    foretold = np.array([now, twice], float)
    axes.errorbar(foretold[:, 0], foretold[:, 1], foretold[:, 2], linestyle="--", marker="s",
                  capsize=3, color=figures.ORANGE,
                  label="foretold, ± 1 standard error")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set(xlabel="images per class", ylabel="cross-validated accuracy")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figures.save(figure, path)

"""The leaderboard of a sweep as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transfer.pictures import figures
from transfer.pictures.parameters import ABSENT, DEFAULT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER_FILL, CHOSEN_FILL, OTHER_FILL = "#e6e6e6", "#fde3c0", "#ffffff"
CELL_SIZE, TITLE_SIZE = 9.5, 12  # points
ROW_HEIGHT, CELL_PADDING, MARGIN = 0.29, 0.12, 0.2  # inches


def plot_leaderboard(
    columns: Sequence[str], rows: Sequence[Sequence[str]], path: Path, title: str, chosen: int
) -> Path:
    """Draws a table of the best heads; columns of numbers stand to the right.

    Args:
        columns: What stands above each column.
        rows: Cells as they are to be read, the best head first.
        path: Where the picture goes.
        title: Stands above it.
        chosen: Number of the row that stands out.

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
    title = figures.drawable(title)
    columns = [figures.shorten(column.replace("_", " ")) for column in columns]
    rows = [[figures.shorten(cell, 44) for cell in row] for row in rows]
    widths = [
        max(figures.text_width(cell, CELL_SIZE, "bold") for cell in cells) + 2 * CELL_PADDING
        for cells in zip(columns, *rows, strict=True)
    ]
    width = max(sum(widths), figures.text_width(title, TITLE_SIZE, "bold"))
    height = ROW_HEIGHT * (len(rows) + 1)
    page = width + 2 * MARGIN, height + 0.35 + 2 * MARGIN
    figure = figures.make(*page, constrained=False)
    axes = figure.add_axes(
        (MARGIN / page[0], MARGIN / page[1], sum(widths) / page[0], height / page[1])
    )
    axes.axis("off")
    figure.text(MARGIN / page[0], 1 - MARGIN / page[1], title, fontsize=TITLE_SIZE, weight="bold",
                verticalalignment="top", parse_math=False)  # fmt: skip
    _add_table(axes, columns, rows, widths, chosen)
    return figures.save(figure, path)


def _add_table(
    axes: Axes,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    chosen: int,
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
        fill = {0: HEADER_FILL, chosen + 1: CHOSEN_FILL}.get(row, OTHER_FILL)
        cell.set(facecolor=fill, edgecolor=HEADER_FILL)
        cell.set_text_props(horizontalalignment="right" if numeric[column] else "left",
                            fontsize=CELL_SIZE, weight="normal" if fill == OTHER_FILL else "bold",
                            parse_math=False)  # fmt: skip


def _are_numbers(cells: Iterable[str]) -> bool:
    """Whether a column is one of numbers, some of which may be missing."""
    return all(map(_is_number, set(cells) - {"", DEFAULT, ABSENT}))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").rstrip("%"))
    except ValueError:
        return False
    return True

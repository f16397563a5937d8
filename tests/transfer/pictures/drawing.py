"""Catches the figures that a test draws, on their way to their files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from transfer.pictures import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def drawn_figures() -> Iterator[list["Figure"]]:
    """Yields a list that fills with the figures that are saved, in order."""
    drawn, save = [], figures.save

    def noting(figure, path):
        drawn.append(figure)
        return save(figure, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save", noting)
        yield drawn

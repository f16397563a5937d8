"""Predictions as a table on the terminal."""

from collections.abc import Sequence

from pipelines.counting import counted
from pipelines.predicting.entries import Entry
from pipelines.results import print_table
from pipelines.scoring import Scored
from transfer.images.decoding import BadImage

MOST_ROWS = 1_000
"""Of a table that people are given; more go to a file."""


class Table:
    """Entries that are kept until all are there, as `growing.GrowingFile` keeps them in a file."""

    def __init__(self) -> None:
        self.stop = 0
        self.bad: list[BadImage] = []
        self._entries: list[Entry] = []

    def add(self, entries: Sequence[Entry], scored: Scored) -> None:
        """Keeps what was said of some images."""
        self._entries += entries
        self.stop = scored.stop
        self.bad += scored.bad

    def finish(self) -> None:
        """Prints the table."""
        ranks = [f"{rank}." for rank in range(1, len(self._entries[0]["top"]) + 1)]
        more = ["unknown", "nearest training images"] if "unknown" in self._entries[0] else []
        rows = [_cells(entry) for entry in self._entries]
        print_table(counted(len(rows), "image"), ["image", *ranks, *more], rows)


def _cells(entry: Entry) -> list[str]:
    cells = [entry["image"]]
    cells += [f"{one['class']} {one['probability']:.4f}" for one in entry["top"]]
    if "unknown" in entry:
        strangeness = f"{entry['strangeness']:.2f}"
        cells += [f"yes, {strangeness}" if entry["unknown"] else strangeness]
        cells += [", ".join(entry["nearest"])]
    return cells

"""The linear heads that are tried: which cuts they see, and how their features are treated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transfer.heads.transforms import Transform

SUFFIXES = (1, 2, 4, 8)
"""Numbers of cuts counted from the top, beside all."""
MORE_SUFFIXES = (*SUFFIXES, 3, 6, 12, 16, 24)
"""The same where there is time for more."""
TRANSFORMS: tuple[Transform, ...] = ("none", "root")


@dataclass(frozen=True)
class Candidate:
    """One way to look at features.

    Attributes:
        cuts: How many it sees, counted from the top.
        alike: Whether each cut weighs the same, however many features it has.
        transform: What is done to features before they are standardised.
    """

    cuts: int
    alike: bool
    transform: Transform

    @property
    def simplicity(self) -> tuple[int, bool, bool]:
        """Smaller for the simpler of two."""
        return self.cuts, self.alike, self.transform != "none"

    def in_words(self, num_cuts: int) -> str:
        """What it sees, for a table: "top", "last 4 cuts", "all 17 cuts alike"."""
        if self.cuts == 1:
            return "top" if num_cuts > 1 else "all features"
        which = "all" if self.cuts == num_cuts else "last"
        return f"{which} {self.cuts} cuts" + (" alike" if self.alike else "")

    def weights(self, widths: Sequence[int]) -> np.ndarray:
        """`(cuts,)` factors of the cuts' products; with them a sample has about the length 1.

        That makes one penalty mean the same for few features and for many.
        """
        seen = np.arange(len(widths)) >= len(widths) - self.cuts
        if self.alike:
            return seen / (self.cuts * np.asarray(widths, float))
        return seen / np.asarray(widths, float)[seen].sum()


def candidates_for(num_cuts: int, thorough: bool = False) -> list[Candidate]:
    """All candidates, the simplest first.

    Args:
        num_cuts: Of the features.
        thorough: Whether more numbers of last cuts are tried, with each way of weighing them.
    """
    suffixes = MORE_SUFFIXES if thorough else SUFFIXES
    numbers = sorted({*(number for number in suffixes if number < num_cuts), num_cuts})
    alike = [number for number in numbers if number > 1 and (thorough or number == num_cuts)]
    views = sorted([(number, False) for number in numbers] + [(number, True) for number in alike])
    return [Candidate(cuts, alike, transform) for cuts, alike in views for transform in TRANSFORMS]

"""Linear heads with what they say of images that they have not seen, and averages of such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transfer.choosing.averages import shares_of
from transfer.choosing.candidates import Candidate
from transfer.choosing.paths import Fitted, losses_of, probabilities_of
from transfer.choosing.problems import Problem
from transfer.choosing.rows import Rows
from transfer.choosing.standardising import Standardised
from transfer.heads.transforms import Transform
from transfer.metrics import standard_error


@dataclass(frozen=True, eq=False)
class Member:
    """A candidate at its best penalty."""

    candidate: Candidate
    problem: Problem
    prepared: Standardised
    fitted: Fitted


@dataclass(frozen=True, eq=False)
class Judged:
    """A linear head, or an average of some, with its scores out of fold.

    Attributes:
        name: What it sees, for people.
        simplicity: Smaller for the simpler of two.
        members: What it is made of, each with its share.
        logits: `(judging images, views, classes)`, out of fold.
        labels: `(judging images,)`.
        learned: Images that each of its fits learned from.
    """

    name: str
    simplicity: tuple[int, ...]
    members: tuple[tuple[float, Member], ...]
    logits: np.ndarray
    labels: np.ndarray
    learned: int

    def in_words(self, num_cuts: int) -> str:
        """What it is, with the parts of an average."""
        if len(self.members) == 1:
            return self.name
        parts = [
            f"{share:.0%} {member.candidate.in_words(num_cuts)}" for share, member in self.members
        ]
        return f"{self.name} ({', '.join(parts)})"

    @property
    def widest(self) -> Member:
        """The member that sees the most cuts."""
        members = [member for _, member in self.members]
        return max(members, key=lambda member: member.candidate.cuts)

    @property
    def cuts(self) -> int:
        """How many cuts it sees, counted from the top."""
        return self.widest.candidate.cuts

    @property
    def transform(self) -> Transform:
        """What is done to features before they are standardised."""
        return self.widest.candidate.transform

    @property
    def penalty(self) -> float | None:
        """Of its kernel; None for an average."""
        return self.widest.fitted.penalty if len(self.members) == 1 else None

    @cached_property
    def losses(self) -> np.ndarray:
        """`(judging images,)` cross-entropies, nats."""
        return losses_of(self.logits, self.labels)

    @cached_property
    def hits(self) -> np.ndarray:
        """`(judging images,)` whether each is classed right, 0 or 1."""
        return (probabilities_of(self.logits).argmax(1) == self.labels).astype(float)

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """Share of images that are right, 0-1."""
        return float(self.hits.mean())

    def is_as_good_as(self, best: Judged) -> bool:
        """Whether its loss is above another's by at most the standard error of the difference."""
        differences = self.losses - best.losses
        return bool(differences.mean() <= standard_error(differences))


def single(member: Member, rows: Rows) -> Judged:
    """One candidate, judged on some rows."""
    candidate = member.candidate
    return Judged(
        candidate.in_words(len(rows.widths)),
        candidate.simplicity,
        ((1.0, member),),
        member.fitted.logits,
        rows.labels[rows.judging],
        rows.learned,
    )


def average(heads: Sequence[Judged]) -> Judged | None:
    """The average of some heads of one transform that is best out of fold; None if it is of one."""
    shares = shares_of([head.logits for head in heads], heads[0].labels)
    chosen = [(share, head) for share, head in zip(shares.tolist(), heads, strict=True) if share]
    if len(chosen) < 2:
        return None
    widest = max(head.simplicity for _, head in chosen)
    return Judged(
        f"average of {len(chosen)} heads",
        (MORE_THAN_ANY, *widest),
        tuple((share * own, member) for share, head in chosen for own, member in head.members),
        np.sum([share * head.logits for share, head in chosen], axis=0),
        heads[0].labels,
        heads[0].learned,
    )


MORE_THAN_ANY = 10**6
"""Cuts: an average is less simple than what it is made of."""

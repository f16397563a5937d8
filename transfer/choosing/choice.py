"""Choosing a linear head: candidates judged out of fold, the simplest of the best, calibrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from transfer.choosing.candidates import TRANSFORMS, Candidate, candidates_for
from transfer.choosing.judged import Judged, Member, average, single
from transfer.choosing.narrowing import (
    are_many,
    few_of,
    finals,
    fitted_to_all,
    some_of,
)
from transfer.choosing.paths import (
    OF_MANY,
    ROUGH,
    TOLERANCE,
    USUAL,
    Fits,
    best_on_path,
    fit_again,
    of_features,
    probabilities_of,
)
from transfer.choosing.problems import Products
from transfer.choosing.rows import Rows
from transfer.choosing.standardising import standardised
from transfer.choosing.temperature import temperature_of
from transfer.heads.transforms import Transform

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Multiplies transformed and standardised features of the last cuts.

    Attributes:
        transform: What is done to features first.
        mean: `(channels,)` float32, of the transformed features.
        variance: `(channels,)` float32, likewise, with its floor.
        kernel: `(columns, classes)` float32.
        bias: `(classes,)` float32.
    """

    transform: Transform
    mean: np.ndarray
    variance: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and from what.

    Attributes:
        judged: All that were judged on all images, those of the lowest loss first.
        before: Of very many images, what was compared when fitted to some, likewise.
        chosen: One of those judged.
        tried: How many heads were judged, over candidates and penalties.
        temperature: By which the chosen head's logits are divided in what follows.
        training: The chosen head fitted to the training split.
        final: The chosen head fitted to all that it may be fitted to.
        images: `(judging images,)` their numbers in the rows.
        probabilities: `(judging images, classes)` float64, out of fold.
    """

    judged: tuple[Judged, ...]
    before: tuple[Judged, ...]
    chosen: Judged
    tried: int
    temperature: float
    training: LinearHead
    final: LinearHead
    images: np.ndarray
    probabilities: np.ndarray


def choose(rows: Rows, report: Report = lambda done, of: None, thorough: bool = False) -> Choice:
    """Chooses a linear head by its log loss on images that it has not seen.

    Candidates differ in the cuts that they see, in how these weigh, and in whether roots are taken
    of features; each walks over penalties to its best. Averages of their logits, which are linear
    heads again, are candidates as well. Of all whose loss is within one standard error of the best
    the simplest is taken: fewer cuts, no root, no average. Source of the rule: Breiman, Friedman,
    Olshen and Stone, "Classification and Regression Trees", 1984.

    Args:
        rows: Images, and which of them judge.
        report: Called with how many candidates are done, and of how many.
        thorough: Whether to try more candidates. What is chosen then has no higher loss than what
            would be chosen otherwise.

    Raises:
        InputError: If a feature is not finite.
    """
    # Of many only the finalists are judged, thorough or not.
    compared = _of_many(rows, report) if are_many(rows) else _of_few(rows, report, thorough)
    chosen = compared.chosen
    temperature = temperature_of(chosen.logits, chosen.labels)
    training, final = _heads(rows, chosen, temperature, compared.fit_ends)
    return Choice(
        judged=tuple(compared.judged),
        before=tuple(compared.before),
        chosen=chosen,
        tried=compared.tried,
        temperature=temperature,
        training=training,
        final=final,
        images=rows.judging,
        probabilities=probabilities_of(chosen.logits / temperature),
    )


@dataclass(frozen=True, eq=False)
class _Compared:
    """What was compared: as `Choice`, and how a member is fitted to what the ends learn from."""

    judged: list[Judged]
    chosen: Judged
    tried: int
    fit_ends: Callable[[Member], Fits]
    before: Sequence[Judged] = ()


def _of_few(rows: Rows, report: Report, thorough: bool) -> _Compared:
    usual = candidates_for(len(rows.widths))
    candidates = candidates_for(len(rows.widths), thorough)
    members, tried = _contest(rows, candidates, TOLERANCE, report)
    heads, chosen = _chosen(rows, members, averages=True)
    if len(candidates) > len(usual):
        fewer = [member for member in members if member.candidate in usual]
        chosen = min(chosen, _chosen(rows, fewer, averages=True)[1], key=lambda head: head.loss)
    return _Compared(heads, chosen, tried, partial(_fit_ends, rows, tolerance=TOLERANCE))


def _of_many(rows: Rows, report: Report) -> _Compared:
    few, some = few_of(rows), some_of(rows)
    members, tried = _contest(few, candidates_for(len(rows.widths)), ROUGH, report)
    members, more, number = finals(some, few, members, ROUGH if some is rows else TOLERANCE)
    heads, chosen = _chosen(some, members, averages=False)
    tried += more
    if some is rows:
        return _Compared(heads, chosen, tried, partial(_fit_ends, rows, tolerance=OF_MANY))
    # Of one that is a standard error behind, what is lost on average is a twelfth of that.
    left = [head.widest for head in heads if head.is_as_good_as(heads[0])]
    ends = fitted_to_all(rows, some, left, number)
    judged, chosen = _chosen(rows, list(ends), averages=False)
    return _Compared(judged, chosen, tried + len(left), lambda member: ends[member], before=heads)


def _fit_ends(rows: Rows, member: Member, tolerance: float) -> Fits:
    """Fits to the training split, and to all that may be learned from."""
    learning = np.stack([rows.training, rows.final], axis=1)
    return fit_again(member.problem, rows, member.fitted, learning, tolerance)


def _chosen(rows: Rows, members: Sequence[Member], averages: bool) -> tuple[list[Judged], Judged]:
    """All heads that can be made of some members, the best first, and the one to take."""
    heads = [single(member, rows) for member in members]
    for transform in TRANSFORMS if averages else ():
        alike = [head for head in heads if head.penalty and head.transform == transform]
        if alike and (mean := average(alike)):
            heads.append(mean)
    heads.sort(key=lambda head: head.loss)
    near = [head for head in heads if head.is_as_good_as(heads[0])]
    return heads, min(near, key=lambda head: head.simplicity)


def _contest(
    rows: Rows, candidates: Sequence[Candidate], tolerance: float, report: Report
) -> tuple[list[Member], int]:
    """All candidates, and how many heads were judged."""
    from threadpoolctl import threadpool_limits

    members: list[Member] = []
    tried = 0
    for transform in TRANSFORMS:
        # The first of all sees the top, as the first with another transform does.
        start = members[0].fitted.number if members else USUAL
        prepared = standardised(rows, transform)
        products = Products(prepared.features, rows.widths)
        # On a busy machine threads of BLAS wait for one another: to decompose 350 rows took 0.9 s
        # with two of them, 0.02 with one.
        with threadpool_limits(1, "blas"):
            for candidate in candidates:
                if candidate.transform != transform:
                    continue
                problem = products.problem(candidate.weights(rows.widths))
                fitted, number = best_on_path(problem, rows, start, tolerance)
                start, tried = fitted.number, tried + number
                members.append(Member(candidate, problem, prepared, fitted))
                report(len(members), len(candidates))
    return members, tried


def heads_of_folds(rows: Rows, choice: Choice) -> list[LinearHead]:
    """The chosen head as it judged: fitted without the images of each fold, in their order."""

    def judged(member: Member) -> Fits:
        return of_features(member.problem, member.fitted.weights)

    return _heads(rows, choice.chosen, choice.temperature, judged)


def _heads(
    rows: Rows, chosen: Judged, temperature: float, fit: Callable[[Member], Fits]
) -> list[LinearHead]:
    """A head of each of the fits, of an average the average of its members' fits."""
    columns = sum(rows.widths[-chosen.cuts :])
    fits = [(share / temperature, *fit(member)) for share, member in chosen.members]
    kernels = np.sum([factor * kernel[-columns:] for factor, kernel, _ in fits], axis=0)
    biases = np.sum([factor * bias for factor, _, bias in fits], axis=0)
    treatment, channels = chosen.widest.prepared, rows.channels or columns
    return [
        LinearHead(
            treatment.transform,
            treatment.mean[-channels:],
            treatment.variance[-channels:],
            kernels[:, fit].astype(np.float32),
            biases[fit].astype(np.float32),
        )
        for fit in range(len(biases))
    ]

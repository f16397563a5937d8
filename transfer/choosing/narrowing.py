"""Choosing among heads for many samples: on some of them, more for fewer candidates.

Each candidate is fitted to a thousand samples, and the best two to all. Of very many these are
fitted to some thousands first, which find the penalty and may drop one: passes over all samples
are what takes the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from transfer.choosing.judged import Member
from transfer.choosing.paths import (
    PENALTIES,
    ROUGH,
    Fits,
    best_around,
    fit_side_by_side,
    fitted_at,
    judged,
    lowest_number,
    of_features,
    on_grid,
    penalty_at,
    without_features,
)
from transfer.choosing.problems import MOST_SAMPLES, in_columns
from transfer.choosing.rows import Rows
from transfer.choosing.standardising import standardised

FEW_SAMPLES = 1000
"""Of more, so many choose the finalists."""
SOME_SAMPLES = 5000
"""Of very many, so many find the penalty and may drop a finalist, and as many judge it."""
VERY_MANY = 25_000
"""Samples, with images set apart to judge, for which that saves time: 36 s in place of 51 with
50,000 x 10,240 features, 34 in place of 40 with 35,000, none with 25,000."""
FINALISTS = 2


def are_many(rows: Rows) -> bool:
    """Whether not every candidate can be tried on all of them."""
    return len(rows.features) > MOST_SAMPLES


def few_of(rows: Rows) -> Rows:
    """The rows, or as many of them as can be compared with one another, judged by folds."""
    if not are_many(rows):
        return rows
    order = np.random.default_rng(0).permutation(len(rows.labels))
    chosen = order[: FEW_SAMPLES // rows.views]
    return replace(rows.some(np.sort(chosen)), holdout=False)


def some_of(rows: Rows) -> Rows:
    """The rows, or so many of them that a clear difference between the finalists shows.

    Measured on CIFAR-10, EfficientNet-Lite0, three draws each: of fits to 5,000 images the log
    losses of the finalists differ by 0.0066 to 0.0070, to 10,000 by 0.0062 to 0.0089, to 45,000
    by 0.0078. Fits have to be near their minima for it: roughly fitted, either was the better one.
    """
    if not rows.holdout or len(rows.features) <= VERY_MANY:
        return rows
    order = np.random.default_rng(1).permutation(len(rows.labels))
    learns = rows.training[order]
    chosen = [kind[: SOME_SAMPLES // rows.views] for kind in (order[learns], order[~learns])]
    return rows.some(np.concatenate([np.sort(kind) for kind in chosen]))  # judges behind


def finals(
    rows: Rows, few: Rows, members: Sequence[Member], tolerance: float
) -> tuple[list[Member], int, float]:
    """The best of a contest, on more rows.

    Args:
        rows: Those that judge the finalists.
        few: Those of the contest.
        members: All that took part.
        tolerance: As `paths.TOLERANCE`.

    Returns:
        The finalists, how many fits were judged, and the number, between two of `PENALTIES`,
        where the loss is lowest.
    """
    best_first = sorted(members, key=lambda member: member.fitted.loss)
    transform = best_first[0].candidate.transform
    alike = [member for member in best_first if member.candidate.transform == transform]
    first, *others = _on(rows, alike[:FINALISTS])
    number = on_grid(_number_for(rows, few, first.fitted.number))
    around = best_around(first.problem, rows, replace(first.fitted, number=number), tolerance)
    best = min(around, key=lambda each: each.loss)
    finalists = [replace(first, fitted=best)]
    for other in others:  # what is the best penalty of one is about that of the others
        (beside,) = fitted_at(other.problem, rows, [best.number], other.fitted.weights, tolerance)
        finalists.append(replace(other, fitted=beside))
    return finalists, len(around) + len(others), lowest_number(around)


def fitted_to_all(
    rows: Rows, some: Rows, members: Sequence[Member], number: float
) -> dict[Member, Fits]:
    """Finalists, fitted to all rows at one penalty.

    Args:
        rows: All; those outside the training split judge.
        some: Those of the finals.
        members: What is left of the finalists.
        number: Of the penalty that is the best for some.

    Returns:
        What judges, and its fits to the training split and to all that may be learned from.
    """
    number = _number_for(rows, some, number)
    learning = np.stack([rows.training, rows.final], axis=1)
    different, places = np.unique(learning, axis=1, return_inverse=True)
    penalties = np.full(different.shape[1], penalty_at(number))

    fitted = {}
    for whole, member in zip(_on(rows, members), members, strict=True):
        start = np.repeat(member.fitted.weights, len(penalties), axis=1)
        weights = fit_side_by_side(whole.problem, rows, different, penalties, start, ROUGH)
        weights = weights[:, places.ravel()]
        judges = judged(whole.problem, rows, number, weights[:, :1])
        fitted[replace(whole, fitted=judges)] = of_features(whole.problem, weights)
    return fitted


def _number_for(rows: Rows, some: Rows, number: float) -> float:
    """Of the penalty that is the best for all rows, if `number` is that for some of them.

    What is best grows about as the fourth root of the number of samples. Measured on CIFAR-10,
    EfficientNet-Lite0, from 5,000 to 45,000 images: all cuts 0.034 to 0.063, all alike 0.022 to
    0.043, the top 0.22 to 0.27.
    """
    growth = (rows.learned / some.learned) ** 0.25
    return number - math.log(growth) / math.log(PENALTIES[0] / PENALTIES[1])


def _on(rows: Rows, members: Sequence[Member]) -> list[Member]:
    """Members, of one transform, that see other rows, and have learned nothing of them yet."""
    widest = max(member.candidate.cuts for member in members)
    transform = members[0].candidate.transform
    prepared = standardised(rows, transform, sum(rows.widths[:-widest]))

    def on_these(member: Member) -> Member:
        of_columns = np.repeat(member.candidate.weights(rows.widths), rows.widths)
        problem = in_columns(prepared.features, of_columns)
        nothing = replace(member.fitted, weights=without_features(problem, rows))
        return Member(member.candidate, problem, prepared, nothing)

    return [on_these(member) for member in members]

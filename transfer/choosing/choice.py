"""Choosing a linear head: candidates judged out of fold, the simplest of the best, calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transfer.choosing.candidates import TRANSFORMS, Candidate, candidates_for
from transfer.choosing.judged import Judged, Member, average, single
from transfer.choosing.paths import (
    OF_MANY,
    PENALTIES,
    ROUGH,
    TOLERANCE,
    USUAL,
    as_judged,
    best_around,
    best_on_path,
    fit_again,
    fitted_at,
    probabilities_of,
    without_features,
)
from transfer.choosing.problems import Products, in_columns
from transfer.choosing.rows import Rows
from transfer.choosing.standardising import standardised
from transfer.choosing.temperature import temperature_of
from transfer.heads.transforms import Transform

MOST_SAMPLES = 1500
"""Whose products with one another are decomposed."""
FEW_SAMPLES = 1000
"""Of more, so many choose the finalists."""
FINALISTS = 2
"""Candidates that are then fitted to all samples."""

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
        chosen: One of them.
        tried: How many heads were judged, over candidates and penalties.
        temperature: By which the chosen head's logits are divided in what follows.
        training: The chosen head fitted to the training split.
        final: The chosen head fitted to all that it may be fitted to.
        images: `(judging images,)` their numbers in the rows.
        probabilities: `(judging images, classes)` float64, out of fold.
    """

    judged: tuple[Judged, ...]
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
    usual = candidates_for(len(rows.widths))
    is_large = len(rows.features) > MOST_SAMPLES
    # Of many samples only the finalists are judged, the same either way.
    candidates = candidates_for(len(rows.widths), thorough and not is_large)
    tolerance = ROUGH if is_large else TOLERANCE
    members, tried = _contest(_few_of(rows), candidates, tolerance, report)
    if is_large:
        members, more = _finals(rows, members)
        tried += more
    heads, chosen = _chosen(rows, members, averages=not is_large)
    if len(candidates) > len(usual):
        fewer = [member for member in members if member.candidate in usual]
        chosen = min(chosen, _chosen(rows, fewer, averages=True)[1], key=lambda head: head.loss)
    temperature = temperature_of(chosen.logits, chosen.labels)
    probabilities = probabilities_of(chosen.logits / temperature)
    ends = _ends(rows, chosen, temperature)
    return Choice(tuple(heads), chosen, tried, temperature, *ends, rows.judging, probabilities)


def _chosen(rows: Rows, members: Sequence[Member], averages: bool) -> tuple[list[Judged], Judged]:
    """All heads that can be made of some members, the best first, and the one to take."""
    labels = rows.labels[rows.judging]
    heads = [single(member, len(rows.widths), labels) for member in members]
    for transform in TRANSFORMS if averages else ():
        alike = [head for head in heads if head.penalty and head.transform == transform]
        if alike and (mean := average(alike)):
            heads.append(mean)
    heads.sort(key=lambda head: head.loss)
    near = [head for head in heads if head.is_as_good_as(heads[0])]
    return heads, min(near, key=lambda head: head.simplicity)


def _few_of(rows: Rows) -> Rows:
    """The rows, or as many of them as can be compared with one another, judged by folds."""
    if len(rows.features) <= MOST_SAMPLES:
        return rows
    order = np.random.default_rng(0).permutation(len(rows.labels))
    chosen = order[: FEW_SAMPLES // rows.views]
    return replace(rows.some(np.sort(chosen)), holdout=False)


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


def _finals(rows: Rows, members: Sequence[Member]) -> tuple[list[Member], int]:
    """The best of a contest on some of the rows, on all of them."""
    best_first = sorted(members, key=lambda member: member.fitted.loss)
    transform = best_first[0].candidate.transform
    alike = [member for member in best_first if member.candidate.transform == transform]
    sampled = alike[:FINALISTS]
    widest = max(member.candidate.cuts for member in sampled)
    prepared = standardised(rows, transform, sum(rows.widths[:-widest]))

    def prepare(member: Member) -> Member:
        of_columns = np.repeat(member.candidate.weights(rows.widths), rows.widths)
        problem = in_columns(prepared.features, of_columns)
        number = _number_for(rows, member.fitted.number)
        start = replace(member.fitted, number=number, weights=without_features(problem, rows))
        return Member(member.candidate, problem, prepared, start)

    first, *others = [prepare(member) for member in sampled]
    fitted, tried = best_around(first.problem, rows, first.fitted)
    finalists = [replace(first, fitted=fitted)]
    for other in others:  # what is the best penalty of one is about that of the others
        start = other.fitted.weights
        (beside,) = fitted_at(other.problem, rows, [fitted.number], start)
        finalists.append(replace(other, fitted=beside))
    return finalists, tried + len(others)


def _number_for(rows: Rows, number: int) -> int:
    """Of the penalty where one looks first among all samples, if that of some is the best there.

    Measured on CIFAR-10: what is best grows about as the root of the number of samples.
    """
    growth = math.sqrt(len(rows.features) / FEW_SAMPLES)
    steps = math.log(growth) / math.log(PENALTIES[0] / PENALTIES[1])
    return max(0, number - round(steps))


def _ends(rows: Rows, chosen: Judged, temperature: float) -> tuple[LinearHead, LinearHead]:
    """The chosen head fitted to the training split, and to all that it may be fitted to."""
    learning = np.stack([rows.training, rows.final], axis=1)
    training, final = _fits(rows, chosen, temperature, learning)
    return training, final


def heads_of_folds(rows: Rows, choice: Choice) -> list[LinearHead]:
    """The chosen head as it judged: fitted without the images of each fold, in their order."""

    def judged(member: Member) -> tuple[np.ndarray, np.ndarray]:
        return as_judged(member.problem, member.fitted)

    return _heads(rows, choice.chosen, choice.temperature, rows.learning.shape[1], judged)


def _fits(rows: Rows, chosen: Judged, temperature: float, learning: np.ndarray) -> list[LinearHead]:
    """The chosen head fitted to other images: `learning` is `(images, fits)` bool."""
    tolerance = TOLERANCE if len(rows.features) <= MOST_SAMPLES else OF_MANY

    def fit(member: Member) -> tuple[np.ndarray, np.ndarray]:
        return fit_again(member.problem, rows, member.fitted, learning, tolerance)

    return _heads(rows, chosen, temperature, learning.shape[1], fit)


def _heads(
    rows: Rows,
    chosen: Judged,
    temperature: float,
    fits: int,
    fit: Callable[[Member], tuple[np.ndarray, np.ndarray]],
) -> list[LinearHead]:
    columns = sum(rows.widths[-chosen.cuts :])
    kernels = np.zeros((columns, fits, rows.num_classes))
    biases = np.zeros((fits, rows.num_classes))
    for share, member in chosen.members:
        kernel, bias = fit(member)
        kernels += share / temperature * kernel[-columns:]
        biases += share / temperature * bias
    treatment, channels = chosen.widest.prepared, rows.channels or columns
    return [
        LinearHead(
            treatment.transform,
            treatment.mean[-channels:],
            treatment.variance[-channels:],
            kernels[:, fit].astype(np.float32),
            biases[fit].astype(np.float32),
        )
        for fit in range(fits)
    ]

"""What a sweep found: a table, a file for other programs, pictures, and a fair summary."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cache.durable import whole_file
from pipelines.results import print_table
from pipelines.scoring import RankBy, rank
from pipelines.sweeping.halving import Score
from pipelines.sweeping.linear import LinearScore
from pipelines.sweeping.space import in_words
from pipelines.sweeping.trials import Trial

SHOWN = 20
"""Heads on the terminal and in the picture, and the chosen one; the file has all."""
LINEAR = "linear head on"
"""Column that says what a linear head sees; heads of the search have their options."""
CHOSEN = "chosen"
"""Column that says `yes` of the head that is kept: simpler ones win over others hardly better."""


def ranked(
    trials: Sequence[Trial], scores: Sequence[Score], rank_by: RankBy = "log_loss"
) -> list[tuple[Trial, Score]]:
    """Best first: by log loss or accuracy, then heads that went to their end, then by the other."""
    of_trial = {score.number: score for score in scores}
    pairs = [(trial, of_trial[trial.number]) for trial in trials]

    def order(pair: tuple[Trial, Score]) -> tuple[float, bool, float]:
        first, second = rank(asdict(pair[1]), rank_by)
        return first, not pair[1].finished, second

    return sorted(pairs, key=order)


def show(
    board: Sequence[tuple[Trial, Score]],
    linear: Sequence[LinearScore],
    chosen: Score | LinearScore,
    folder: Path,
    rank_by: RankBy = "log_loss",
) -> None:
    """Prints the leaderboard and writes `sweep.csv` and pictures.

    Args:
        board: Heads of the search, from `ranked`.
        linear: Linear heads.
        chosen: The head that is kept, one of them.
        folder: Of the run.
        rank_by: What the best have the best of.
    """
    from transfer.pictures.leaderboard import plot_leaderboard

    names = _varying([trial.point for trial, _ in board])
    columns = [
        *([LINEAR] if linear else []),
        *names,
        *["accuracy", "+-", "log loss", "+- "],
        *(["trained", "seconds"] if board else []),
        CHOSEN,
    ]
    blank = [""] if linear else []
    cells: list[tuple[Score | LinearScore, list[str]]]
    cells = [(score, [*blank, *_cells(trial, score, names)]) for trial, score in board]
    after = [""] * (2 if board else 0)
    cells += [(one, [one.sees, *[""] * len(names), *_scores(one), *after]) for one in linear]
    cells.sort(key=lambda pair: rank(asdict(pair[0]), rank_by))
    place = [score for score, _ in cells].index(chosen)
    rows = [[*row, "yes" * (number == place)] for number, (_, row) in enumerate(cells)]
    folder.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(folder / "sweep.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file).writerows([columns, *rows])
    title = f"the best {min(SHOWN, len(rows))} heads"
    title += " and the chosen one" * (place >= SHOWN) + ", on images that they have not seen"
    shown = [*rows[:SHOWN], *rows[max(place, SHOWN) : place + 1]]
    print_table(title, columns, shown)
    table = folder / "sweep-leaderboard.png"
    plot_leaderboard(columns, shown, table, title, min(place, SHOWN))
    _draw(board, names, folder)


def deviations(board: Sequence[tuple[Trial, Score]]) -> np.ndarray:
    """`(heads, folds)` losses less the mean over heads, of those that did not diverge."""
    losses = np.array([score.losses_by_fold for _, score in board])
    losses = losses[np.isfinite(losses).all(axis=1)]
    return losses - losses.mean(axis=0)


def luck(deviations: np.ndarray, tried: int) -> float | None:
    """How far ahead of the average the best of many equally good heads is expected to be.

    By the largest of as many draws from a normal distribution, of the standard error of what a
    head's losses differ from the mean of all on the same images. Source of the approximation: Blom,
    "Statistical Estimates and Transformed Beta-Variables", 1958.

    Args:
        deviations: `(heads, images or folds)` losses less the mean over heads.
        tried: How many heads were compared.

    Returns:
        Nats; None where nothing is known of the errors.
    """
    from scipy.stats import norm

    if deviations.shape[1] < 2:
        return None
    errors = deviations.std(axis=1, ddof=1) / np.sqrt(deviations.shape[1])
    return float(norm.ppf((tried - 0.375) / (tried + 0.25)) * errors.mean())


def _draw(board: Sequence[tuple[Trial, Score]], names: Sequence[str], folder: Path) -> None:
    """Accuracy against each option that varies, and the rungs."""
    from transfer.pictures.curves import plot_rungs
    from transfer.pictures.parameters import plot_parameters

    parameters = folder / "sweep-parameters.png"
    parameters.unlink(missing_ok=True)
    if names:
        accuracies = [score.val_accuracy for _, score in board]
        plot_parameters([trial.point for trial, _ in board], accuracies, parameters)
    rungs = folder / "sweep-rungs.png"
    rungs.unlink(missing_ok=True)
    if board:
        plot_rungs([(range(1, len(score.curve) + 1), score.curve) for _, score in board], rungs)


def entry(trial: Trial, score: Score) -> dict[str, Any]:
    """One head's line in `sweep.json`."""
    return {
        **trial.point,
        "val_accuracy": score.val_accuracy,
        "val_loss": score.val_loss if math.isfinite(score.val_loss) else None,
        "accuracy_error": score.accuracy_error,
        "loss_error": score.loss_error,
        "best_epoch": score.best_epoch,
        "trained": score.epochs,
        "finished": score.finished,
        "seconds": round(score.seconds, 3),
    }


def _varying(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Options that differ between points, in the order in which the search names them."""
    names = list(dict.fromkeys(name for point in points for name in point))
    return [name for name in names if len({str(point.get(name)) for point in points}) > 1]


def _cells(trial: Trial, score: Score, names: Sequence[str]) -> list[str]:
    return [
        *(in_words(trial.point[name]) if name in trial.point else "" for name in names),
        *_scores(score),
        str(score.epochs),
        f"{score.seconds:.2f}",
    ]


def _scores(score: Score | LinearScore) -> list[str]:
    """Accuracy and log loss, each with its standard error where there is one."""
    errors = (
        "" if error is None else f"{error:.4f}"
        for error in (score.accuracy_error, score.loss_error)
    )
    accuracy, loss = f"{score.val_accuracy:.4f}", f"{score.val_loss:.4f}"
    return [cell for pair in zip((accuracy, loss), errors, strict=True) for cell in pair]

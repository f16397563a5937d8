"""What a sweep found: a table, a file for other programs, pictures, and a fair summary."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.results import print_table
from pipelines.sweeping.halving import Score
from pipelines.sweeping.space import in_words
from pipelines.sweeping.trials import Trial

SHOWN = 20
"""Heads on the terminal and in the picture; the file has all."""


def ranked(trials: Sequence[Trial], scores: Sequence[Score]) -> list[tuple[Trial, Score]]:
    """Best first: by validation accuracy, then heads that went to their end, then by loss."""
    of_trial = {score.number: score for score in scores}
    pairs = [(trial, of_trial[trial.number]) for trial in trials]
    return sorted(pairs, key=lambda pair: _order(pair[1]))


def _order(score: Score) -> tuple[float, bool, float]:
    return -score.val_accuracy, not score.finished, score.val_loss


def show(
    board: Sequence[tuple[Trial, Score]],
    baselines: Sequence[Mapping[str, Any]],
    folder: Path,
    folds: int = 1,
) -> dict[str, Any]:
    """Prints the leaderboard and writes `sweep.csv` and pictures.

    Args:
        board: From `ranked`.
        baselines: Rows of another table, from `comparison.baselines`.
        folder: Of the run.
        folds: Of the heads' cross-validation; baselines have none.

    Returns:
        How many heads were tried, the median accuracy, and how far the best is ahead of it.
    """
    names = _varying([trial.point for trial, _ in board])
    several = any(score.spread for _, score in board)
    columns = [
        *names,
        "val accuracy",
        *(["+-"] if several else []),
        "val loss",
        "trained",
        "seconds",
    ]
    rows = [_cells(trial, score, names, several) for trial, score in board]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sweep.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    tried = f"{len(board)} heads tried" if len(board) > 1 else "1 head tried"
    title = f"{tried}, the best {min(SHOWN, len(rows))} by validation"
    print_table(title, columns, rows[:SHOWN])
    if baselines:
        _print_baselines(baselines, folds)
    _draw(board, names, columns, rows, title, folder)
    accuracies = [score.val_accuracy for _, score in board]
    middle = median(accuracies)
    print(
        f"sweep: {tried}; the best is {accuracies[0] - middle:.4f} ahead of the "
        "median head in validation accuracy"
    )
    return {
        "tried": len(board),
        "median_val_accuracy": middle,
        "lead_over_median": accuracies[0] - middle,
    }


def _print_baselines(baselines: Sequence[Mapping[str, Any]], folds: int) -> None:
    note = "; the heads above are cross-validated, on more images" if folds > 1 else ""
    print_table(
        f"for comparison, on the validation split{note}",
        list(baselines[0]),
        [[_cell(name, value) for name, value in row.items()] for row in baselines],
    )


def _draw(
    board: Sequence[tuple[Trial, Score]],
    names: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str,
    folder: Path,
) -> None:
    """The leaderboard, accuracy against each option that varies, and the rungs."""
    from transfer.pictures.curves import plot_rungs
    from transfer.pictures.leaderboard import plot_leaderboard
    from transfer.pictures.parameters import plot_parameters

    plot_leaderboard(columns, rows[:SHOWN], folder / "sweep-leaderboard.png", title)
    parameters = folder / "sweep-parameters.png"
    parameters.unlink(missing_ok=True)
    if names:
        accuracies = [score.val_accuracy for _, score in board]
        plot_parameters([trial.point for trial, _ in board], accuracies, parameters)
    curves = [(range(1, len(score.curve) + 1), score.curve) for _, score in board]
    plot_rungs(curves, folder / "sweep-rungs.png")


def entry(trial: Trial, score: Score) -> dict[str, Any]:
    """One head's line in `sweep.json`."""
    return {
        **trial.point,
        "val_accuracy": score.val_accuracy,
        "val_loss": score.val_loss if math.isfinite(score.val_loss) else None,
        "spread": score.spread,
        "best_epoch": score.best_epoch,
        "trained": score.epochs,
        "finished": score.finished,
        "seconds": round(score.seconds, 3),
    }


def _varying(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Options that differ between points, in the order in which the search names them."""
    names = list(dict.fromkeys(name for point in points for name in point))
    return [name for name in names if len({str(point.get(name)) for point in points}) > 1]


def _cells(trial: Trial, score: Score, names: Sequence[str], several: bool) -> list[str]:
    return [
        *(in_words(trial.point[name]) if name in trial.point else "" for name in names),
        f"{score.val_accuracy:.4f}",
        *([f"{score.spread:.4f}"] if several else []),
        f"{score.val_loss:.4f}",
        str(score.epochs),
        f"{score.seconds:.2f}",
    ]


def _cell(name: str, value: object) -> object:
    if isinstance(value, float):
        return f"{value:.1f}" if name == "seconds" else f"{value:.4f}"
    return "" if value is None else value

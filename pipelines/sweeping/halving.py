"""Trains a group of heads rung by rung; after each rung the worst go."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import FeatureFile, entry_path
from cache.errors import CacheError
from pipelines.features import ids_of, split_of, val_is_given
from pipelines.heads.training import TrainingData, read_training_data
from pipelines.scoring import RankBy, rank
from pipelines.setup import Setup
from pipelines.sweeping.journal import Entry, Journal
from pipelines.sweeping.trials import Group
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.images.sources import DataOptions, groups_in
from transfer.images.splits import assign_folds

if TYPE_CHECKING:
    from transfer.heads.bank import HeadBank

FORMAT = 3
"""Of the journal; raised where older entries would go on differently."""


@dataclass(frozen=True)
class Plan:
    """How a sweep trains its groups."""

    rungs: tuple[int, ...]
    """Epochs after which the worst heads of each group go, increasing."""
    keep: float
    """Share that stays."""
    seeds: int
    """Heads per trial, with other initial weights and dropout masks."""
    folds: int
    """Of the cross-validation; 1 is the split into training and validation rows."""
    rank_by: RankBy = "log_loss"
    """What the best have the best of."""


@dataclass(frozen=True)
class Score:
    """What a trial came to, the mean over its seeds and folds.

    Attributes:
        number: The trial's.
        val_accuracy: Of the best epochs.
        val_loss: Of the same epochs, nats.
        accuracy_error: Standard error of the accuracy over folds, of seeds where there is one fold;
            None for a single head.
        loss_error: Of the loss, likewise.
        losses_by_fold: Of the best epochs, nats.
        best_epoch: Counted from 1; the median.
        epochs: Trained.
        finished: Whether it stayed to its end, and was not dropped at a rung.
        seconds: Its heads' share of the time.
        curve: Validation accuracy after each epoch.
    """

    number: int
    val_accuracy: float
    val_loss: float
    accuracy_error: float | None
    loss_error: float | None
    losses_by_fold: tuple[float, ...]
    best_epoch: int
    epochs: int
    finished: bool
    seconds: float
    curve: tuple[float, ...]


def train_group(
    group: Group,
    plan: Plan,
    journal: Journal,
    report: Callable[[str], None] = lambda line: None,
) -> list[Score]:
    """Trains a group to its end, from where the journal says that it is.

    Args:
        group: Its trials.
        plan: Rungs, seeds and folds.
        journal: Read first, and written after each rung.
        report: Called with a line about each rung.

    Returns:
        One score a trial, in the order of the trials.
    """
    import_keras()
    key = journal_key(group, plan)
    entry = journal.read(key)
    begun: Mapping[str, Any] = {"alive": range(len(group.trials)), "rungs_done": 0}
    notes = entry.notes if entry else begun
    longest = max(trial.fit.epochs for trial in group.trials)
    ends = [*(rung for rung in plan.rungs if rung < longest), longest]
    banks: list[HeadBank] = []
    for number, epochs in list(enumerate(ends, start=1))[notes["rungs_done"] :]:
        for fold in range(plan.folds):
            data = load_fold(group, plan, fold)
            if fold == len(banks):
                banks.append(_bank(group, plan, data, fold, entry))
            banks[fold].fit(data.train, data.val, epochs)
            del data  # else two folds would be in memory while the next is read
        last = number == len(ends)
        notes = _judged(group, plan, banks, notes["alive"], last) | {"rungs_done": number}
        journal.write(key, Entry(notes, [bank.state() for bank in banks]))
        going_on = "" if last else f", {len(notes['alive'])} go on"
        name = "val accuracy" if plan.rank_by == "accuracy" else "val loss"
        report(f"{group.description}: epoch {epochs}, best {name} {notes['best']:.4f}{going_on}")
    return [_read(score) for score in notes["scores"]]


def _read(score: Mapping[str, Any]) -> Score:
    lists = {name: tuple(value) for name, value in score.items() if isinstance(value, list | tuple)}
    return Score(**{**score, **lists})


def _judged(
    group: Group, plan: Plan, banks: Sequence["HeadBank"], alive: Sequence[int], last: bool
) -> dict[str, Any]:
    """Scores all trials at a rung, and drops the worst of those that are alive.

    Returns:
        What the journal notes of it; `alive` are the trials that go on, or at the last rung those
        that came to their end.
    """
    scores = [_score(group, plan, banks, index) for index in range(len(group.trials))]
    # Of equal ones the first of the search, as on the leaderboard: its weights are kept.
    best_first = sorted(alive, key=lambda index: (rank(asdict(scores[index]), plan.rank_by), index))
    # At the end only the weights of the best are of use, and the journal stays small.
    stay = best_first[: 1 if last else math.ceil(plan.keep * len(alive))]
    _drop(plan, banks, set(alive) - set(stay))
    finished, best = list(alive) if last else stay, scores[best_first[0]]
    return {
        "alive": finished,
        "best": best.val_accuracy if plan.rank_by == "accuracy" else best.val_loss,
        "histories": [bank.history for bank in banks],
        "scores": [
            asdict(replace(score, finished=index in finished)) for index, score in enumerate(scores)
        ],
    }


def journal_key(group: Group, plan: Plan) -> str:
    """What the journal knows the group by: a digest of all that decides its scores."""
    versions = {name: version(name) for name in ("keras", "numpy", "tensorflow")}
    return group.key(plan=asdict(plan), versions=versions, format=FORMAT)


def _bank(
    group: Group, plan: Plan, data: TrainingData, fold: int, entry: Entry | None
) -> "HeadBank":
    """The group's heads as the journal has them, `plan.seeds` of each trial next to one another."""
    from transfer.heads.bank import Design, HeadBank

    designs = [
        Design(trial.head, replace(trial.fit, seed=trial.fit.seed + replica))
        for trial in group.trials
        for replica in range(plan.seeds)
    ]
    shape, seed = data.train.features.shape[1:], group.trials[0].fit.seed
    bank = HeadBank(designs, data.mean, data.variance, shape, data.num_classes, seed)
    if entry:
        bank.restore(entry.states[fold], entry.notes["histories"][fold])
    return bank


def restored(group: Group, plan: Plan, journal: Journal) -> "HeadBank":
    """The bank of a group that was trained to its end, with the weights of its best trial."""
    entry = journal.read(journal_key(group, plan))
    if entry is None:
        raise CacheError(f"expected the journal of {group.description}, found none; sweep again")
    return _bank(group, plan, load_fold(group, plan, 0), 0, entry)


def load_fold(group: Group, plan: Plan, fold: int) -> TrainingData:
    """Training and validation rows of a fold; those of the last call are kept in memory.

    Raises:
        InputError: As `fold_rows`.
    """
    trial = group.trials[0]
    return _load(trial.setup, group.features, trial.use_cuts, plan.folds, fold)


def forget_folds() -> None:
    """Gives back the memory of the rows that `load_fold` keeps."""
    _load.cache_clear()


@lru_cache(maxsize=1)
def _load(setup: Setup, key: str, use_cuts: tuple[str, ...], folds: int, fold: int) -> TrainingData:
    forget_folds()  # the last one goes before the next is read
    features = FeatureFile(entry_path(setup.feature_store, key), key)
    rows = fold_rows(features, setup.data, folds)[fold]
    data = read_training_data(setup, features, use_cuts, rows)
    if isinstance(data.train.features, np.ndarray):  # else it is read as long as heads train
        features.close()
    return data


def fold_rows(
    features: FeatureFile, options: DataOptions, folds: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows to judge by, per fold; never rows of the test split.

    Args:
        features: Of the images.
        options: How they are split.
        folds: 1 for the split itself, else each row but those of test is judged by once, if its
            class has others to train on; those for validation that were given take no part.

    Returns:
        Per fold increasing row numbers, of training and validation.

    Raises:
        InputError: If there are fewer images, or groups of them, than folds.
    """
    split = split_of(features, options)
    if folds == 1:
        return [(np.flatnonzero(split == "train"), np.flatnonzero(split == "val"))]
    rows = np.flatnonzero(split == "train" if val_is_given(features) else split != "test")
    ids = ids_of(features)
    groups = groups_in(ids, options)
    # The same folds for all heads: they differ in nothing else.
    held_out = assign_folds(
        ids[rows],
        features.labels[rows],
        features.class_names,
        folds,
        None if groups is None else groups[rows],
    )
    if empty := folds - len(np.unique(held_out[held_out >= 0])):
        raise InputError(
            f"--folds expects images to hold out in each fold, received {folds} folds of which "
            f"{empty} have none; ask for fewer folds"
        )
    return [(rows[held_out != fold], rows[held_out == fold]) for fold in range(folds)]


def numbers_of(plan: Plan, indices: Iterable[int]) -> list[int]:
    """Numbers of some trials' heads in a bank."""
    return [index * plan.seeds + replica for index in indices for replica in range(plan.seeds)]


def _drop(plan: Plan, banks: Sequence["HeadBank"], indices: Iterable[int]) -> None:
    for bank in banks:
        bank.drop(numbers_of(plan, indices))


def _score(group: Group, plan: Plan, banks: Sequence["HeadBank"], index: int) -> Score:
    numbers = numbers_of(plan, [index])
    heads = [bank.fitted(number) for bank in banks for number in numbers]
    accuracies, losses = (
        np.array([head.best[name] for head in heads]).reshape(len(banks), plan.seeds)
        for name in ("val_accuracy", "val_loss")
    )
    curves = [head.history["val_accuracy"] for head in heads]
    return Score(
        number=group.trials[index].number,
        val_accuracy=float(accuracies.mean()),
        val_loss=float(losses.mean()),
        accuracy_error=_error(accuracies),
        loss_error=_error(losses),
        losses_by_fold=tuple(losses.mean(1).tolist()),
        best_epoch=round(median(head.best_epoch + 1 for head in heads)),
        epochs=max(map(len, curves)),
        finished=True,
        seconds=sum(float(bank.seconds[number]) for bank in banks for number in numbers),
        curve=tuple(fmean(values) for values in zip(*curves, strict=False)),
    )


def _error(scores: np.ndarray) -> float | None:
    """Standard error of the mean of `(folds, seeds)` scores."""
    from transfer.metrics import standard_error

    parts = scores.mean(1) if len(scores) > 1 else scores[0]
    return standard_error(parts) if len(parts) > 1 and np.isfinite(parts).all() else None

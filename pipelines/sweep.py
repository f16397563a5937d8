"""The sweep stage: hundreds of heads on cached features, in few passes."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import features as features_stage
from pipelines.head import HeadStage, notes_of
from pipelines.heads.saving import NewHead, save
from pipelines.heads.training import refit, score, train
from pipelines.machine.parallel import in_parallel
from pipelines.recipes import fill
from pipelines.results import write_json
from pipelines.runs import check_replaced, remember
from pipelines.samples import read_samples
from pipelines.scoring import rank
from pipelines.setup import Setup, flags_for
from pipelines.sweeping import comparison, leaderboard
from pipelines.sweeping.halving import (
    Plan,
    Score,
    fold_rows,
    forget_folds,
    load_fold,
    numbers_of,
    restored,
    train_group,
)
from pipelines.sweeping.journal import Journal
from pipelines.sweeping.space import points_of, read_spaces
from pipelines.sweeping.trials import Group, Trial, groups_of, option_kinds
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.heads.building import check_head
from transfer.heads.fitting import Fitted, check_validation
from transfer.heads.options import FitOptions, HeadOptions

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class SweepStage:
    """Train hundreds of heads on the cached features and keep the best by validation."""

    setup: Setup = field(default_factory=Setup)
    head: HeadOptions = field(default_factory=HeadOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    use_cuts: tuple[str, ...] = ()
    """Cuts that the heads see, of those in the feature file; by default all, joined."""
    grid: tuple[str, ...] = (
        "hidden=0",
        "learning_rate=geomspace(0.0003,0.01,6)",
        "l2=0,geomspace(0.0001,0.03,7)",
        "label_smoothing=0,0.1,0.2",
        "or",
        "hidden=128,256",
        "learning_rate=loguniform(0.0003,0.003)",
        "dropout=uniform(0.1,0.6)",
        "l2=0,0.0001,0.001",
        "label_smoothing=0,0.1",
    )
    """What to try, as name=value,value for options of heads, training, backbone and --use-cuts.
    Values are listed, or range(1,9,2), linspace(0,1,5), geomspace(0.001,1,4), or drawn from
    uniform(0,0.5), loguniform(0.001,1), randint(16,512). Widths, cuts and views are joined by +,
    no hidden layer is 0. The word "or" begins another search."""
    samples: int = 64
    """Heads drawn of each search in which something is drawn."""
    rungs: tuple[int, ...] = (2, 6, 14)
    """Epochs after which the worst heads of a group are dropped; none to train all to the end."""
    keep: float = 0.3
    """Share of heads that stays at a rung."""
    seeds: int = 1
    """Heads per point of the search, with other seeds; ranked by their mean."""
    folds: int = 1
    """Cross-validate on training and validation rows; 1 is the usual split."""
    baselines: tuple[comparison.Name, ...] = ("ridge", "logistic", "neighbours")
    """Exact ones to compare with: ridge and logistic regression over 45 penalties, and nearest
    neighbours."""
    refit: bool = False
    """Train the best head once more on training and validation rows together, and export that."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        for name in ("samples", "seeds", "folds"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} expects at least 1, received {getattr(self, name)}")
        if self.seeds > 1 and any(word.split("=")[0].strip() == "seed" for word in self.grid):
            raise InputError("--seeds expects no seed in --grid, received both; give one of them")
        if not 0 < self.keep <= 1:
            raise InputError(f"--keep expects a share above 0 and up to 1, received {self.keep}")
        if list(self.rungs) != sorted(set(self.rungs)) or min(self.rungs, default=1) < 1:
            raise InputError(f"--rungs expects increasing epochs from 1, received {self.rungs}")

    @property
    def journal(self) -> Journal:
        """What is known of the heads that were trained so far."""
        return Journal(self.setup.run_folder / "sweep")


def run(stage: SweepStage) -> dict:
    """Trains all heads, shows the leaderboard, saves the best as the run's head, and tests it.

    Returns:
        What is also written to `sweep.json`: one entry a head, best first, and what was chosen.

    Raises:
        InputError: If the search names an unknown option or a value of the wrong kind. If the run
            was made from other data.
    """
    check_replaced(stage.setup)
    trials = read_trials(stage)
    plan = Plan(stage.rungs, stage.keep, stage.seeds, stage.folds)
    groups = list(_groups(trials, plan))
    with stage.journal.locked(lambda holder: print(f"sweep: waiting for {holder}")):
        return _sweep(stage, trials, groups, plan)


def _sweep(stage: SweepStage, trials: Sequence[Trial], groups: Sequence[Group], plan: Plan) -> dict:
    # Baselines first, since memory that banks had is not all given back.
    baselines = comparison.baselines(groups, stage.baselines, stage.journal)
    started = time.monotonic()
    scores = _train(stage, groups, plan)
    print(f"sweep: trained in {time.monotonic() - started:.1f} s")
    board = leaderboard.ranked(trials, scores)
    if not any(math.isfinite(score.val_loss) for score in scores):
        raise InputError(
            f"sweep expects a head that learns, received {len(scores)} that diverged, and saved "
            "none; search lower values of learning_rate or l2"
        )
    summary = leaderboard.show(board, baselines, stage.setup.run_folder, plan.folds)
    # Of heads that were dropped no weights are left; where val_loss chooses epochs, one may lead.
    winner, score = next(pair for pair in board if pair[1].finished)
    (group,) = (group for group in groups if winner in group.trials)
    result = {
        **summary,
        "folds": stage.folds,
        "seeds": stage.seeds,
        "baselines": baselines,
        "heads": [leaderboard.entry(*pair) for pair in board],
        "chosen": _save(stage, winner, group, plan, score.seconds),
    }
    write_json(stage.setup.run_folder / "sweep.json", result)
    return result


def read_trials(stage: SweepStage) -> list[Trial]:
    """The heads to be tried.

    Raises:
        InputError: If the search names an unknown option or a value of the wrong kind.
    """
    spaces = read_spaces(stage.grid, option_kinds())
    trials = []
    for number, point in enumerate(points_of(spaces, stage.samples, stage.fit.seed)):
        one = fill(stage, {"sweep": point}, "sweep")
        # All share a run folder, which otherwise is named after data and backbone.
        setup = replace(one.setup, run=stage.setup.run_folder.name)
        trials.append(Trial(number, point, setup, one.use_cuts, one.head, one.fit))
    return trials


def _groups(trials: Sequence[Trial], plan: Plan) -> Iterator[Group]:
    """Opens, or makes, the features of each trial, and groups those on the same.

    Says once which classes cannot be judged, for the images are the same in all features.
    """
    places: dict[Any, list[Trial]] = {}
    for trial in trials:
        places.setdefault((trial.setup, trial.use_cuts), []).append(trial)
    for number, ((setup, use_cuts), here) in enumerate(places.items()):
        with features_stage.open_features(setup) as features:
            shape = features.joined_shape(use_cuts)[len(setup.backbone.views) > 1 :]
            split = features_stage.split_of(features, setup.data)
            for folds in sorted({1, plan.folds}):  # the winner is judged on the usual split
                for _, val in fold_rows(features, setup.data, folds):
                    check_validation(len(val))
                    split[val] = "val"
            if number == 0:
                features_stage.say_unjudged("sweep", features, split)
            key, num_classes = features.key, len(features.class_names)
        import_keras()
        for trial in here:
            check_head(trial.head, num_classes)
        yield from groups_of(here, key, math.prod(shape), num_classes, plan.seeds)


def _train(stage: SweepStage, groups: Sequence[Group], plan: Plan) -> list[Score]:
    tasks = [(group, plan, stage.journal) for group in groups]
    if stage.setup.jobs == 1:
        done = [_work(task) for task in tasks]
    else:
        forget_folds()  # workers read their own
        done = in_parallel(_work, tasks, stage.setup.jobs, stage.setup.parallel)
    return [score for scores in done for score in scores]


def _work(task: tuple[Group, Plan, Journal]) -> list[Score]:
    return train_group(*task, report=partial(print, "sweep:", flush=True))


def _save(
    stage: SweepStage, winner: Trial, group: Group, plan: Plan, seconds: float
) -> dict[str, Any]:
    """Saves the winner as `transfer head` saves its own, and scores it once on the test split.

    Returns:
        What `sweep.json` says of it.
    """
    model, fitted, fit = _trained(stage, winner, group, plan)
    with features_stage.open_features(winner.setup) as features:
        names = features.class_names
        data = load_fold(group, replace(plan, folds=1), 0)
        scores = score(model, data.val, names, "val")
        del data
        forget_folds()
        if stage.refit:
            epochs = fitted.best_epoch + 1
            model = refit(winner.setup, features, winner.use_cuts, winner.head, fit, epochs)
        cuts, notes = (
            winner.use_cuts or features.cuts,
            notes_of(fitted, winner.head, fit, stage.refit),
        )
        new = NewHead(model, cuts, scores, notes, seconds, fitted=fitted)
        saved = save(winner.setup, features, new)
        remember(HeadStage(winner.setup, winner.head, fit, winner.use_cuts, stage.refit), "head")
        if flags := flags_for(saved["backbone"], stage.setup.backbone):
            print(
                f"sweep: evaluate and finetune take the chosen head with {flags}, or with "
                f"--run {stage.setup.run_folder.name} alone"
            )
        rows = np.flatnonzero(features_stage.split_of(features, winner.setup.data) == "test")
        told = {name: saved[name] for name in ("val_accuracy", "val_loss", "refitted")}
        if not len(rows):
            print("sweep: there are no test images to score the chosen head on")
            return told
        (samples,) = read_samples(features, [rows], winner.use_cuts, stage.setup.memory_budget)
        test = score(model, samples, names, "test")
    print(f"sweep: the chosen head, scored once on test: {test.accuracy:.4f}, loss {test.loss:.4f}")
    return {**told, "test_accuracy": test.accuracy, "test_loss": test.loss}


def _trained(
    stage: SweepStage, winner: Trial, group: Group, plan: Plan
) -> tuple["keras.Model", Fitted, FitOptions]:
    """The winner with the weights of its best epoch; of several seeds the best by validation."""
    if plan.folds > 1:  # none of the folds' heads was trained on all training rows
        data = load_fold(group, replace(plan, folds=1), 0)
        return *train(data, winner.head, winner.fit, "chosen head"), winner.fit
    bank = restored(group, plan, stage.journal)
    numbers = numbers_of(plan, [group.trials.index(winner)])
    number = min(numbers, key=lambda number: rank(bank.fitted(number).best))
    return bank.head(number), bank.fitted(number), bank.designs[number].fit

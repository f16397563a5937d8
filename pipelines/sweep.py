"""The sweep stage: hundreds of heads on cached features, in few passes."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.counting import counted
from pipelines.head import HeadStage, notes_of
from pipelines.heads import choosing
from pipelines.heads.saving import NewHead, save
from pipelines.heads.training import calibrate, refit, said_of_validation, score, train
from pipelines.machine.parallel import in_parallel
from pipelines.recipes import fill
from pipelines.results import write_json
from pipelines.runs import check_replaced, remember
from pipelines.samples import read_samples
from pipelines.scoring import RankBy, rank
from pipelines.setup import Setup, flags_for
from pipelines.sweeping import leaderboard
from pipelines.sweeping.halving import (
    Plan,
    Score,
    fold_rows,
    forget_folds,
    journal_key,
    load_fold,
    numbers_of,
    restored,
    train_group,
)
from pipelines.sweeping.journal import FOLDER, Journal
from pipelines.sweeping.linear import Linear, Place, linear_heads
from pipelines.sweeping.space import points_of, read_spaces
from pipelines.sweeping.trials import Group, Trial, distinct, groups_of, option_kinds
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.heads.building import check_head
from transfer.heads.fitting import Fitted, check_validation
from transfer.heads.options import FitOptions, HeadOptions
from transfer.metrics import standard_error

if TYPE_CHECKING:
    import keras


HIDDEN_FROM = 30_000
"""Images from which on hidden layers are searched. Measured on CIFAR-10, 3,888 features of
MobileNetV2 0.35, test accuracy of the linear head that is chosen and of a hidden layer of 512 with
dropout: 0.7515 and 0.7416 of 5,000 images, 0.7799 and 0.7697 of 12,000, 0.7964 and 0.7922 of
25,000, 0.8120 and 0.8316 of 50,000."""
HIDDEN = (
    "hidden=128,256",
    "learning_rate=loguniform(0.0003,0.003)",
    "dropout=uniform(0.1,0.6)",
    "l2=0,0.0001,0.001",
    "label_smoothing=0,0.1",
)


@dataclass(frozen=True)
class SweepStage:
    """Try hundreds of heads on the cached features and keep the best on images not seen."""

    setup: Setup = field(default_factory=Setup)
    head: HeadOptions = field(default_factory=HeadOptions)
    fit: FitOptions = field(default_factory=lambda: FitOptions(monitor="val_loss"))
    use_cuts: tuple[str, ...] = ()
    """Cuts that the heads see, of those in the feature file; by default all: trained heads see
    them joined, linear ones as many of the last as are of use."""
    grid: tuple[str, ...] = ()
    """What to try beside linear heads, as name=value,value for options of heads, training, backbone
    and --use-cuts. Values are listed, or range(1,9,2), linspace(0,1,5), geomspace(0.001,1,4), or
    drawn from uniform(0,0.5), loguniform(0.001,1), randint(16,512). Widths, cuts and views are
    joined by +, a view that holds one stands in parentheses, as in identity+(center+flip); no
    hidden layer is 0. The word "or" begins another search. By default hidden layers, where there
    are 30,000 images and more."""
    linear: bool = True
    """Try penalised linear heads on more and more of the last cuts, weighed in two ways."""
    samples: int = 64
    """Heads drawn of each search in which something is drawn; those that are alike, as they are
    where they differ in options without effect, are one."""
    rungs: tuple[int, ...] = (2, 6, 14)
    """Epochs after which the worst heads of a group are dropped; none to train all to the end."""
    keep: float = 0.3
    """Share of heads that stays at a rung."""
    seeds: int = 1
    """Heads per point of the search, with other seeds; ranked by their mean."""
    folds: int | None = None
    """Cross-validate on training and validation rows; 1 is the usual split. By default 5 where
    there are fewer than 20,000 images."""
    rank_by: RankBy = "log_loss"
    """What the best have the best of, on images that they have not seen."""
    refit: bool = False
    """Fit the head that is exported to training and validation rows together. A linear one is so by
    itself, unless the validation split was given."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        for name in ("samples", "seeds", "folds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} expects at least 1, received {value}")
        if self.seeds > 1 and any(word.split("=")[0].strip() == "seed" for word in self.grid):
            raise InputError("--seeds expects no seed in --grid, received both; give one of them")
        if not 0 < self.keep <= 1:
            raise InputError(f"--keep expects a share above 0 and up to 1, received {self.keep}")
        if list(self.rungs) != sorted(set(self.rungs)) or min(self.rungs, default=1) < 1:
            raise InputError(f"--rungs expects increasing epochs from 1, received {self.rungs}")

    @property
    def journal(self) -> Journal:
        """What is known of the heads that were trained so far."""
        return Journal(self.setup.run_folder / FOLDER)


def run(stage: SweepStage) -> dict:
    """Trains all heads, shows the leaderboard, saves the best as the run's head, and tests it.

    Returns:
        What is also written to `sweep.json`: one entry a head, best first, and what was chosen.

    Raises:
        InputError: If the search names an unknown option or a value of the wrong kind. If the run
            was made from other data.
    """
    check_replaced(stage.setup)
    stage, folds = _settled(stage)
    trials = read_trials(stage) if stage.grid else []
    plan = Plan(stage.rungs, stage.keep, stage.seeds, folds, stage.rank_by)
    groups = list(_groups(trials, plan))
    with stage.journal.locked(lambda holder: print(f"sweep: waiting for {holder}")):
        stage.journal.begin(journal_key(group, plan) for group in groups)
        return _sweep(stage, trials, groups, plan)


def _settled(stage: SweepStage) -> tuple[SweepStage, int]:
    """The search, and the folds, that so many images ask for."""
    setup = read_trials(stage)[0].setup if stage.grid else stage.setup
    with features_stage.open_features(setup) as features:
        split = features_stage.split_of(features, setup.data)
        is_given = features_stage.val_is_given(features)
        features_stage.say_unjudged("sweep", features, split)
    plan = choosing.plan_of(split, is_given, stage.refit)
    folds = stage.folds or (1 if plan.holdout else choosing.FOLDS)
    if stage.grid:
        return stage, folds
    if len(plan.rows) >= HIDDEN_FROM or not stage.linear:
        return replace(stage, grid=HIDDEN), folds
    print(
        f"sweep: linear heads alone: hidden layers learn more from {HIDDEN_FROM:,} images on; "
        "--grid hidden=128,256 tries some"
    )
    return stage, folds


def _sweep(stage: SweepStage, trials: Sequence[Trial], groups: Sequence[Group], plan: Plan) -> dict:
    # Linear heads first, since memory that banks had is not all given back.
    places = [Place(g.trials[0].setup, g.trials[0].use_cuts, g.features_in_words) for g in groups]
    places = places or [Place(stage.setup, stage.use_cuts)]
    linear = list(linear_heads(places, stage.refit)) if stage.linear else []
    started = time.monotonic()
    scores = _train(stage, groups, plan)
    if scores:
        print(f"sweep: trained in {time.monotonic() - started:.1f} s")
    board = leaderboard.ranked(trials, scores, plan.rank_by)
    if not linear and not any(math.isfinite(score.val_loss) for score in scores):
        raise InputError(
            f"sweep expects a head that learns, received {len(scores)} that diverged, and saved "
            "none; search lower values of learning_rate or l2"
        )
    # Of heads that were dropped no weights are left; where val_loss chooses epochs, one may lead.
    best = next((pair for pair in board if pair[1].finished), None)
    exact = min(linear, key=lambda one: rank(asdict(one.score), plan.rank_by), default=None)
    others = [score for one in linear for score in one.others]
    folder = stage.setup.run_folder
    show = partial(leaderboard.show, board, others, folder=folder, rank_by=plan.rank_by)
    if exact and not (best and _is_better(best[1], exact, plan)):
        show(exact.score)
        chosen = _save_linear(stage, exact)
    else:
        assert best is not None
        show(best[1])
        (group,) = (group for group in groups if best[0] in group.trials)
        chosen = _save(stage, best[0], group, plan, best[1].seconds)
    result = {
        **_summary(board, linear),
        "folds": plan.folds,
        "seeds": stage.seeds,
        "linear": [asdict(score) for score in others],
        "heads": [leaderboard.entry(*pair) for pair in board],
        "chosen": chosen,
    }
    write_json(folder / "sweep.json", result)
    return result


def _is_better(trained: Score, linear: Linear, plan: Plan) -> bool:
    """Whether a trained head is ahead of the simpler linear one by more than a standard error."""
    if plan.rank_by == "accuracy":
        ahead = trained.val_accuracy - linear.score.val_accuracy
        return ahead > linear.score.accuracy_error
    by_fold = linear.losses_by_fold()
    if len(by_fold) == len(trained.losses_by_fold) > 1:  # the same images in each
        differences = by_fold - np.array(trained.losses_by_fold)
        return bool(differences.mean() > standard_error(differences))
    return linear.losses.mean() - trained.val_loss > linear.score.loss_error


def _summary(board: Sequence[tuple[Trial, Score]], linear: Sequence[Linear]) -> dict[str, Any]:
    """How many heads were tried, and how far one of them would lead by luck alone; says so."""
    tried = len(board) + sum(one.tried for one in linear)
    deviations = linear[0].deviations if linear else leaderboard.deviations(board)
    expected = leaderboard.luck(deviations, tried)
    losses = [score.val_loss for _, score in board]
    losses += [score.val_loss for one in linear for score in one.others]
    lead = median(losses) - min(losses)
    by_luck = ""
    if expected is not None:
        by_luck = f"; of so many equally good ones the best would be ahead by {expected:.4f}"
    print(
        f"sweep: {counted(tried, 'head')} tried; the best is {lead:.4f} ahead of the median head "
        f"in log loss{by_luck}"
    )
    return {
        "tried": tried,
        "lead_over_median": lead if math.isfinite(lead) else None,
        "lead_by_luck": expected,
    }


def read_trials(stage: SweepStage) -> list[Trial]:
    """The heads to be tried, each once.

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
    return distinct(trials)


def _groups(trials: Sequence[Trial], plan: Plan) -> Iterator[Group]:
    """Opens, or makes, the features of each trial, and groups those on the same."""
    places: dict[Any, list[Trial]] = {}
    for trial in trials:
        places.setdefault((trial.setup, trial.use_cuts), []).append(trial)
    for (setup, use_cuts), here in places.items():
        with features_stage.open_features(setup, again=True) as features:
            shape = features.joined_shape(use_cuts)[len(setup.backbone.views) > 1 :]
            for folds in sorted({1, plan.folds}):  # the winner is judged on the usual split
                for _, val in fold_rows(features, setup.data, folds):
                    check_validation(len(val))
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


def _save_linear(stage: SweepStage, linear: Linear) -> dict[str, Any]:
    """Saves a linear head as `transfer head` does, and scores it once on the test split."""
    setup, cuts = linear.place.setup, linear.place.cuts
    print(f"sweep: chose a linear head, {linear.in_words}")
    with features_stage.open_features(setup, again=True) as features:
        saved = save(setup, features, linear.new)
        remember(HeadStage(setup, use_cuts=cuts, refit=stage.refit), "head")
        return {
            "sees": linear.in_words,
            "loss": float(linear.losses.mean()),
            **_told(stage, setup, features, saved, linear.new),
        }


def _save(
    stage: SweepStage, winner: Trial, group: Group, plan: Plan, seconds: float
) -> dict[str, Any]:
    """Saves the winner as `transfer head` saves its own, and scores it once on the test split.

    Returns:
        What `sweep.json` says of it.
    """
    model, fitted, fit = _trained(stage, winner, group, plan)
    setup, cuts, head = winner.setup, winner.use_cuts, winner.head
    with features_stage.open_features(setup, again=True) as features:
        data = load_fold(group, replace(plan, folds=1), 0)
        temperature = calibrate(model, data.val)
        said = said_of_validation(model, setup, features, data.val)
        scores = said.scores(features.class_names, "val")
        del data
        forget_folds()
        if stage.refit:
            epochs = fitted.best_epoch + 1
            model = refit(setup, features, cuts, head, fit, epochs, temperature)
        notes = notes_of(fitted, head, fit, stage.refit, temperature)
        new = NewHead(
            model,
            cuts or features.cuts,
            scores,
            notes,
            seconds,
            fitted=fitted,
            temperature=temperature,
            out_of_fold=said,
        )
        saved = save(setup, features, new)
        remember(HeadStage(setup, head, fit, cuts, stage.refit), "head")
        print(
            f"sweep: chose a trained head: val accuracy {scores.accuracy:.4f}, loss "
            f"{scores.loss:.4f}"
        )
        return _told(stage, setup, features, saved, new)


def _told(
    stage: SweepStage,
    setup: Setup,
    features: FeatureFile,
    saved: Mapping[str, Any],
    new: NewHead,
) -> dict[str, Any]:
    """What `sweep.json` says of the chosen head, with its scores on the test split."""
    if flags := flags_for(saved["backbone"], stage.setup.backbone):
        print(
            f"sweep: evaluate and finetune take the chosen head with {flags}, or with "
            f"--run {stage.setup.run_folder.name} alone"
        )
    told = {name: saved[name] for name in ("val_accuracy", "val_loss", "refitted")}
    rows = np.flatnonzero(features_stage.split_of(features, setup.data) == "test")
    if not len(rows):
        print("sweep: there are no test images to score the chosen head on")
        return told
    (samples,) = read_samples(features, [rows], new.cuts, stage.setup.memory_budget)
    test = score(new.model, samples, features.class_names, "test")
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
    number = min(numbers, key=lambda number: rank(bank.fitted(number).best, plan.rank_by))
    return bank.head(number), bank.fitted(number), bank.designs[number].fit

"""Halving: who stays at a rung, what scores are means of, and that a kill changes nothing.

Most tests prescribe the scores of a bank whose bookkeeping is real; some train real heads.
"""

import contextlib
import math
from dataclasses import replace
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from cache import FeatureWriter
from cache.errors import CacheError
from pipelines.heads.training import TrainingData
from pipelines.setup import Setup
from pipelines.sweeping import halving
from pipelines.sweeping.halving import Plan, fold_rows, restored, train_group
from pipelines.sweeping.journal import Journal
from pipelines.sweeping.leaderboard import ranked
from pipelines.sweeping.trials import Group, Trial
from tests.cache.test_cache import digests_of, ids_of
from tests.cache.test_spec import SPEC
from transfer.errors import InputError
from transfer.heads.bank import Design, HeadBank
from transfer.heads.batches import feature_batches
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.fitting import predict_head, refit_head
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples
from transfer.images.sources import DataOptions
from transfer.images.splits import assign_folds
from transfer.images.texts import Texts

WIDTH, NUM_CLASSES = 6, 3
LABELS = np.repeat([0, 1, 2], [26 * 3, 27 * 3, 27 * 3])
"""Of the rows to learn from and judge by: 240, so that a third of them is as many as the split
validates on, and one size of arrays, which is compiled once, does for all tests."""
SPLIT = np.where(np.arange(len(LABELS)) % 3 == 1, "val", "train")
NUM_TEST = 60


def problem(seed=0):
    """Features of the rows of `LABELS` and of test rows that look like nothing else."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(NUM_CLASSES, WIDTH))
    features = centres[LABELS] + 1.2 * rng.normal(size=(len(LABELS), WIDTH))
    return np.concatenate([features, np.full((NUM_TEST, WIDTH), 1e4)]).astype(np.float32)


FEATURES = problem()
ALL_LABELS = np.concatenate([LABELS, np.arange(NUM_TEST) % NUM_CLASSES])
ALL_SPLITS = np.concatenate([SPLIT, np.full(NUM_TEST, "test")])


def write_features(store, spec=SPEC, features=FEATURES, labels=ALL_LABELS, split=ALL_SPLITS):
    """A feature file of given values, in one cut if they are an array; returns its key."""
    cuts = features if isinstance(features, dict) else {"top": features}
    ids = ids_of(len(labels))
    shapes = {cut: values.shape[1:] for cut, values in cuts.items()}
    writer = FeatureWriter(store, spec, ids, shapes)
    for start in range(0, len(ids), writer.rows_per_part):
        rows = np.arange(start, min(start + writer.rows_per_part, len(ids)))
        writer.write(rows, {cut: values[rows] for cut, values in cuts.items()}, {})
    writer.seal(
        labels=labels,
        given_split=list(split),
        class_names=[f"class {label}" for label in range(labels.max() + 1)],
        image_digests=digests_of(range(len(ids))),
    )
    return spec.key


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("halving")
    write_features(folder / "features")
    return Setup(data=DataOptions("digits"), artifacts=folder)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "sweep")


def group_of(setup, fits, head=HeadOptions()):
    """Trials numbered from 10, as if others came before."""
    trials = [
        Trial(10 + index, {"index": index}, setup, (), head, fit) for index, fit in enumerate(fits)
    ]
    return Group(tuple(trials), SPEC.key)


# ---- scores that are prescribed


class ScriptedBank(HeadBank):
    """Trains nothing: scores come from a script, weights are the number of the epoch."""

    script: tuple = ()
    """Per fold and head `(epochs, 2)`: accuracy and loss of each epoch."""
    lives = math.inf
    """Epochs of all banks until one is killed."""

    def _initial_state(self):
        zeros = ops.zeros((len(self.designs), 1, 1))
        return {"weights": [zeros], "slots": [], "moving": []}

    def _train_epoch(self, batches, labels):
        type(self).lives -= 1
        if self.lives < 0:
            raise Killed
        weights = [ops.full((len(self._places), 1, 1), self.epochs_done + 1)]
        self._state = {**self._state, "weights": weights}
        return [np.zeros(len(self._places))] * 2

    def _judge(self, val):
        fold = int(val.features[0, 0])
        scores = np.array([self.script[fold][number] for number in self._places.tolist()])
        return [scores[:, self.epochs_done - 1, 1], scores[:, self.epochs_done - 1, 0]]


class Killed(BaseException):
    """What stands for SIGKILL: nothing in the source catches it."""


class MortalJournal(Journal):
    """Dies before, or after, one of its writes."""

    def __init__(self, folder, writes=math.inf, before=True):
        super().__init__(folder)
        self.writes, self.before = writes, before

    def write(self, key, entry):
        self.writes -= 1
        if self.writes < 0 and self.before:
            raise Killed
        super().write(key, entry)
        if self.writes < 0:
            raise Killed


def load_scripted(group, plan, fold):
    samples = Samples(np.full((1, 1), fold, np.float32), np.zeros(1, np.int64))
    return TrainingData(samples, samples, np.zeros(1), np.ones(1), 2)


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr("transfer.heads.bank.HeadBank", ScriptedBank)
    monkeypatch.setattr(halving, "load_fold", load_scripted)
    monkeypatch.setattr(ScriptedBank, "lives", math.inf)
    return ScriptedBank


MONITORS = ("val_accuracy", "val_loss")


@st.composite
def cases(draw, monitors=MONITORS):
    """A group, a plan and the scores of all heads; eighths, so that there are many ties."""
    monitor = draw(st.sampled_from(monitors))
    epochs = st.integers(1, 9)
    fits = draw(
        st.lists(
            st.builds(
                FitOptions, epochs=epochs, patience=st.integers(1, 6), monitor=st.just(monitor)
            ),
            min_size=1,
            max_size=6,
        )
    )
    plan = Plan(
        rungs=tuple(sorted(draw(st.sets(epochs, max_size=4)))),
        keep=draw(st.sampled_from([0.1, 0.34, 0.5, 0.8, 1.0])),
        seeds=draw(st.integers(1, 3)),
        folds=draw(st.integers(1, 2)),
        rank_by=draw(st.sampled_from(["log_loss", "accuracy"])),
    )
    shape = (plan.folds, len(fits) * plan.seeds, 9, 2)
    script = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 9, shape) / 8
    return group_of(Setup(), fits), plan, script


def history_length(curve, fit, until):
    """Epochs that a head trains up to a rung: as Keras's early stopping would have it."""
    column, sign = (0, 1) if fit.monitor == "val_accuracy" else (1, -1)
    best, waited = -math.inf, 0
    for epoch in range(1, min(until, fit.epochs) + 1):
        value = sign * curve[epoch - 1, column]
        waited = 0 if value > best else waited + 1
        best = max(best, value)
        if waited >= fit.patience:
            return epoch
    return min(until, fit.epochs)


def expected_scores(group, plan, script):
    """Per trial what it should come to; by a simulation that trains every head on its own."""

    def scored(index, until):
        fit, heads = group.trials[index].fit, []
        for fold in range(plan.folds):
            for number in range(index * plan.seeds, (index + 1) * plan.seeds):
                curve = script[fold][number]
                curve = curve[: history_length(curve, fit, until)]
                column = curve[:, 0] if fit.monitor == "val_accuracy" else -curve[:, 1]
                heads.append((curve, int(np.argmax(column))))
        shortest = min(len(curve) for curve, _ in heads)
        accuracies = [curve[best, 0] for curve, best in heads]
        return {
            "val_accuracy": np.mean(accuracies),
            "val_loss": np.mean([curve[best, 1] for curve, best in heads]),
            "best_epoch": round(median(best + 1 for _, best in heads)),
            "epochs": max(len(curve) for curve, _ in heads),
            "curve": np.mean([curve[:shortest, 0] for curve, _ in heads], 0),
        }

    def order(index, until):
        score = scored(index, until)
        both = -score["val_accuracy"], score["val_loss"]
        return *(both if plan.rank_by == "accuracy" else both[::-1]), index

    longest = max(trial.fit.epochs for trial in group.trials)
    alive, last_rung = list(range(len(group.trials))), {}
    for rung in [*(rung for rung in plan.rungs if rung < longest), longest]:
        last_rung.update(dict.fromkeys(alive, rung))
        if rung < longest:
            best_first = sorted(alive, key=lambda index: order(index, rung))
            alive = best_first[: math.ceil(plan.keep * len(alive))]
    return [
        {**scored(index, last_rung[index]), "finished": index in alive}
        for index in range(len(group.trials))
    ]


MANY = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(case=cases())
@MANY
def test_the_best_share_goes_on_and_scores_are_means(case, scripted, tmp_path_factory):
    group, plan, script = case
    scripted.script = script
    lines, journal = [], Journal(tmp_path_factory.mktemp("journal"))
    scores = train_group(group, plan, journal, lines.append)
    expected = expected_scores(group, plan, script)
    assert [score.number for score in scores] == [trial.number for trial in group.trials]
    for score, right in zip(scores, expected, strict=True):
        for name in ("val_accuracy", "val_loss", "curve"):
            assert getattr(score, name) == pytest.approx(right[name], abs=1e-12), name
        for name in ("best_epoch", "epochs", "finished"):
            assert getattr(score, name) == right[name], name
    longest = max(trial.fit.epochs for trial in group.trials)
    assert len(lines) == 1 + sum(rung < longest for rung in plan.rungs)
    finished = [score for score in scores if score.finished]
    best = min(score.val_loss for score in finished)
    if plan.rank_by == "accuracy":
        best = max(score.val_accuracy for score in finished)
    assert f"{best:.4f}" in lines[-1]


@given(case=cases(), kills=st.lists(st.integers(0, 12), min_size=1, max_size=4), data=st.data())
@MANY
def test_a_kill_anywhere_changes_nothing(case, kills, data, scripted, tmp_path_factory):
    group, plan, script = case
    scripted.script, scripted.lives = script, math.inf
    undisturbed = train_group(group, plan, Journal(tmp_path_factory.mktemp("undisturbed")))
    folder = tmp_path_factory.mktemp("killed")
    for kill in kills:
        kind = data.draw(st.sampled_from(["epoch", "before a write", "after a write"]))
        scripted.lives = kill if kind == "epoch" else math.inf
        writes = math.inf if kind == "epoch" else kill % 4
        with contextlib.suppress(Killed):
            train_group(group, plan, MortalJournal(folder, writes, kind == "before a write"))
    scripted.lives = math.inf
    scores = train_group(group, plan, Journal(folder))
    assert [replace(score, seconds=0) for score in scores] == [
        replace(score, seconds=0) for score in undisturbed
    ]
    scripted.lives = 0  # all is known: not one epoch more is trained
    assert train_group(group, plan, Journal(folder)) == scores


@given(case=cases())
@MANY
def test_the_winner_still_has_the_weights_of_its_best_epoch(case, scripted, tmp_path_factory):
    group, plan, script = case
    scripted.script = script
    journal = Journal(tmp_path_factory.mktemp("journal"))
    finished = [score for score in train_group(group, plan, journal) if score.finished]
    trials = [trial for trial in group.trials if trial.number in {one.number for one in finished}]
    winner, _ = ranked(trials, finished, plan.rank_by)[0]
    bank = restored(group, plan, journal)
    for number in halving.numbers_of(plan, [group.trials.index(winner)]):
        epoch = bank.state()[f"best {number}.0"].item()
        assert epoch == bank.fitted(number).best_epoch + 1


@given(case=cases(monitors=("val_loss",)))
@MANY
def test_no_dropped_head_leads_the_board(case, scripted, tmp_path_factory):
    group, plan, script = case
    scripted.script = script
    plan = replace(plan, rank_by="log_loss")
    scores = train_group(group, plan, Journal(tmp_path_factory.mktemp("journal")))
    assert ranked(group.trials, scores)[0][1].finished


def test_of_equal_heads_the_first_of_the_search_keeps_its_weights(scripted, journal):
    # The second leads at the rung; at the end both are the same.
    scripted.script = np.full((1, 2, 9, 2), 0.5)
    scripted.script[0, 1, :2, 0] = 0.6
    scripted.script[0, :, 2, 0] = 1.0
    fits = [FitOptions(epochs=3, patience=9)] * 2
    group, plan = group_of(Setup(), fits), Plan((2,), 1.0, 1, 1)
    scores = train_group(group, plan, journal)
    assert ranked(group.trials, scores)[0][0] == group.trials[0]
    assert sorted(restored(group, plan, journal)._best) == [0]


def test_heads_that_have_all_stopped_are_no_cause_for_warnings(scripted, journal, recwarn):
    # At the first rung both have waited long enough; the bank has nobody to train after that.
    scripted.script = np.full((1, 2, 9, 2), 0.5)
    group = group_of(Setup(), [FitOptions(epochs=9, patience=1)] * 2)
    scores = train_group(group, Plan((2, 4), 1.0, 1, 1), journal)
    assert [score.epochs for score in scores] == [2, 2]
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_nothing_can_be_restored_of_a_group_that_never_trained(scripted, journal):
    group = group_of(Setup(), [FitOptions()])
    with pytest.raises(CacheError, match=r"1 head linear, adam.*sweep again"):
        restored(group, Plan((), 1.0, 1, 1), journal)


# ---- folds


def rows_of_folds(split, labels, folds, group=None):
    """`fold_rows` of images whose test split is given; ids are numbers."""
    ids = Texts.of(f"{row:04}" for row in range(len(labels)))
    images = SimpleNamespace(
        encoded_ids=(ids.encoded, ids.starts),
        labels=labels,
        class_names=tuple(f"class {label}" for label in range(labels.max() + 1)),
        given_split=split,
    )
    return fold_rows(images, DataOptions(val_fraction=0, group=group), folds)


@given(
    counts=st.lists(st.integers(1, 20), min_size=2, max_size=5),
    folds=st.integers(2, 6),
    seed=st.integers(0, 100),
)
@settings(deadline=None)
def test_folds_judge_each_row_but_those_of_test_once(counts, folds, seed):
    rng = np.random.default_rng(seed)
    counts = [30, *counts]  # so that each fold has some
    labels = np.repeat(np.arange(len(counts)), counts)
    split = np.full(len(labels), "train")
    order = rng.permutation(2 * len(labels))
    labels = np.concatenate([labels, labels])[order]
    split = np.concatenate([split, np.full(len(split), "test")])[order]
    rows = rows_of_folds(split, labels, folds)
    assert len(rows) == folds
    judged = np.concatenate([val for _, val in rows])
    alone = np.isin(labels, [label for label, count in enumerate(counts) if count == 1])
    np.testing.assert_array_equal(np.sort(judged), np.flatnonzero((split != "test") & ~alone))
    for train, val in rows:
        assert np.all(np.diff(train) > 0) and np.all(np.diff(val) > 0)
        both = np.sort(np.concatenate([train, val]))
        np.testing.assert_array_equal(both, np.flatnonzero(split != "test"))
        assert set(labels[train]) == {*range(len(counts))}
        for label, count in enumerate(counts):  # stratified: each class as evenly as can be
            if count > 1:
                assert math.floor(count / folds) <= np.sum(labels[val] == label)
                assert np.sum(labels[val] == label) <= math.ceil(count / folds)


def test_folds_keep_groups_together_that_are_listed_for_all_images(tmp_path):
    number = np.arange(len(ALL_LABELS))
    listed = tmp_path / "groups.csv"
    listed.write_text("".join(f"{row:04},{row // 10}\n" for row in number))
    splits = np.where(ALL_SPLITS == "val", "train", ALL_SPLITS)
    rows = rows_of_folds(splits, number // 2 % 3, 3, group=str(listed))
    for train, val in rows:
        assert 70 <= len(val) <= 90 and not set(train // 10) & set(val // 10)


def test_a_validation_split_that_was_given_takes_no_part():
    for train, val in rows_of_folds(ALL_SPLITS, ALL_LABELS, 4):
        assert set(ALL_SPLITS[train]) == set(ALL_SPLITS[val]) == {"train"}


def test_one_fold_is_the_split():
    ((train, val),) = rows_of_folds(ALL_SPLITS, ALL_LABELS, 1)
    assert set(ALL_SPLITS[train]) == {"train"} and len(train) == 160
    assert set(ALL_SPLITS[val]) == {"val"} and len(val) == 80


def test_more_folds_than_images(setup, journal):
    plan = Plan((), 1.0, 1, 243)
    with pytest.raises(InputError) as refused:
        train_group(group_of(setup, [FitOptions()]), plan, journal)
    assert "received 243 folds of which 83 have none" in str(refused.value)
    assert "\n" not in str(refused.value)


# ---- heads that are trained

RATES = np.geomspace(1e-4, 0.3, 6)
FITS = [
    FitOptions(epochs=6, learning_rate=float(rate), seed=7, patience=99)
    for rate in RATES[[3, 0, 4, 1, 5, 2]]
]
ONE_IMAGE = 1.01 / 80


TRAIN, VAL = (np.flatnonzero(np.equal(ALL_SPLITS, name)) for name in ("train", "val"))


def alone(fit, train=TRAIN, val=VAL, order=7):
    """A head in a bank of its own, trained to its end.

    Args:
        fit: How.
        train: Rows to learn from.
        val: Rows to judge by.
        order: Seed of the order of the rows.
    """
    bank = HeadBank(
        [Design(HeadOptions(), fit)],
        *feature_statistics(FEATURES[train]),
        (WIDTH,),
        NUM_CLASSES,
        order,
    )
    bank.fit(
        Samples(FEATURES[train], ALL_LABELS[train]), Samples(FEATURES[val], ALL_LABELS[val]), 6
    )
    return bank


def script_of(banks):
    """Accuracies and losses of heads trained alone, in the form of a script."""
    histories = [bank.history[0] for bank in banks]
    return np.array(
        [np.stack([one["val_accuracy"], one["val_loss"]], 1) for one in histories]
    )[None]  # fmt: skip


@pytest.mark.parametrize("plan", [Plan((3,), 0.3, 1, 1), Plan((), 0.5, 1, 1)])
def test_a_group_comes_to_what_its_heads_come_to_alone(setup, journal, plan):
    group = group_of(setup, FITS)
    scores = train_group(group, plan, journal)
    expected = expected_scores(group, plan, script_of([alone(fit) for fit in FITS]))
    assert [score.finished for score in scores] == [one["finished"] for one in expected]
    assert sum(score.finished for score in scores) == (2 if plan.rungs else 6)
    for score, right in zip(scores, expected, strict=True):
        assert score.val_accuracy == pytest.approx(right["val_accuracy"], abs=ONE_IMAGE)
        assert score.val_loss == pytest.approx(right["val_loss"], rel=1e-3)
        assert (score.epochs, len(score.curve)) == (right["epochs"], right["epochs"])
        assert score.seconds > 0
    assert max(score.val_accuracy for score in scores) > 0.6  # of three classes


def test_a_group_of_one_has_nobody_to_drop(setup, journal):
    group = group_of(setup, FITS[:1])
    (score,) = train_group(group, Plan((1, 2, 5), 0.1, 1, 1), journal)
    history = alone(FITS[0]).history[0]
    assert (score.finished, score.epochs, score.accuracy_error) == (True, 6, None)
    np.testing.assert_allclose(score.curve, history["val_accuracy"], atol=1e-12)


def test_seeds_are_heads_with_other_weights(setup, journal):
    group, plan = group_of(setup, [FITS[1], FITS[3], FITS[0]]), Plan((), 1.0, 2, 1)
    for trial, score in zip(group.trials, train_group(group, plan, journal), strict=True):
        banks = [alone(replace(trial.fit, seed=7 + replica)) for replica in range(2)]
        best = [bank.fitted(0).best for bank in banks]
        accuracies = [one["val_accuracy"] for one in best]
        assert score.val_accuracy == pytest.approx(np.mean(accuracies), abs=ONE_IMAGE)
        assert score.val_loss == pytest.approx(np.mean([one["val_loss"] for one in best]), rel=1e-3)
        error = np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))
        assert score.accuracy_error == pytest.approx(error, abs=ONE_IMAGE)
    assert score.accuracy_error > 0 or accuracies[0] == accuracies[1]
    assert best[0]["val_loss"] != best[1]["val_loss"]


def test_folds_are_heads_on_other_rows(setup, journal):
    group, plan = group_of(setup, FITS[:1]), Plan((2,), 1.0, 1, 3)
    (score,) = train_group(group, plan, journal)
    rows = np.flatnonzero(ALL_SPLITS == "train")  # the other splits are given
    names = tuple(f"class {label}" for label in range(NUM_CLASSES))
    ids = np.array(ids_of(len(ALL_LABELS)), object)[rows]
    held_out = assign_folds(ids, ALL_LABELS[rows], names, 3)
    folded = [(rows[held_out != fold], rows[held_out == fold]) for fold in range(3)]
    best = [alone(FITS[0], train, val).fitted(0).best for train, val in folded]
    accuracies = [one["val_accuracy"] for one in best]
    assert score.val_accuracy == pytest.approx(np.mean(accuracies), abs=ONE_IMAGE / 3)
    assert score.val_loss == pytest.approx(np.mean([one["val_loss"] for one in best]), rel=1e-3)
    error = np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))
    assert score.accuracy_error == pytest.approx(error, abs=ONE_IMAGE)
    assert len(set(accuracies)) > 1


def test_the_restored_winner_is_the_model_that_was_scored(setup, journal):
    group, plan = group_of(setup, FITS), Plan((3,), 0.3, 1, 1)
    scores = train_group(group, plan, journal)
    winner, score = ranked(group.trials, scores)[0]
    number = group.trials.index(winner)
    head = restored(group, plan, journal).head(number)
    probabilities = predict_head(head, FEATURES[VAL])
    accuracy = np.mean(probabilities.argmax(1) == ALL_LABELS[VAL])
    assert accuracy == pytest.approx(score.val_accuracy, abs=1e-6)
    losses = -np.log(probabilities[np.arange(len(VAL)), ALL_LABELS[VAL]])
    assert losses.mean() == pytest.approx(score.val_loss, rel=1e-4)
    others = [other for other in range(len(FITS)) if other != number]
    for other in others:  # whose weights would fill the disk
        with pytest.raises(ValueError, match="not dropped"):
            restored(group, plan, journal).head(other)


def test_test_rows_are_never_seen(setup, journal, monkeypatch):
    seen = []

    def watched(features, *arguments):
        seen.append(np.abs(features).max())
        return feature_batches(features, *arguments)

    monkeypatch.setattr("transfer.heads.bank.feature_batches", watched)
    for folds in (1, 3):
        train_group(group_of(setup, FITS[:1]), Plan((), 1.0, 1, folds), journal)
    assert len(seen) == 4 and max(seen) < 100  # the test rows are 1e4


def test_keras_trains_the_same_head(setup, journal):
    """One head of a group against `Model.fit`, epoch for epoch up to the best."""
    group = group_of(setup, FITS)
    score = train_group(group, Plan((), 1.0, 1, 1), journal)[0]
    statistics = feature_statistics(FEATURES[TRAIN])
    head = build_head(HeadOptions(), *statistics, (WIDTH,), NUM_CLASSES, 7)
    refit_head(head, FEATURES[TRAIN], ALL_LABELS[TRAIN], FITS[0], score.best_epoch)
    probabilities = predict_head(head, FEATURES[VAL])
    losses = -np.log(probabilities[np.arange(len(VAL)), ALL_LABELS[VAL]])
    assert losses.mean() == pytest.approx(score.val_loss, rel=1e-3)

"""The leaderboard: its order, its table, its file, its pictures and its summary."""

import csv
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.setup import Setup
from pipelines.sweeping.halving import Score
from pipelines.sweeping.leaderboard import deviations, entry, in_words, luck, ranked, show
from pipelines.sweeping.linear import LinearScore
from pipelines.sweeping.space import read_spaces
from pipelines.sweeping.trials import Trial, option_kinds
from transfer.heads.options import FitOptions, HeadOptions

PICTURES = ("sweep-leaderboard.png", "sweep-parameters.png", "sweep-rungs.png")


def trial_of(number, point=None):
    return Trial(number, point or {"number": number}, Setup(), (), HeadOptions(), FitOptions())


def score_of(number, accuracy=0.5, loss=1.0, finished=True, errors=(None, None), epochs=3):
    curve = tuple(np.linspace(accuracy / 2, accuracy, epochs).tolist())
    return Score(number, accuracy, loss, *errors, (loss,), epochs, epochs, finished, 0.25, curve)


SCORES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([0.5, 1.0, float("inf")]), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(SCORES, st.randoms(), st.sampled_from(["accuracy", "log_loss"]))
def test_better_heads_stand_above_worse_ones(values, random, rank_by):
    scores = [
        score_of(number, accuracy / 4, loss, finished)
        for number, (accuracy, loss, finished) in enumerate(values)
    ]
    trials = [trial_of(score.number) for score in scores]
    random.shuffle(scores)  # groups are not in the order of the search
    board = ranked(trials, scores, rank_by)
    assert sorted(score.number for _, score in board) == list(range(len(values)))
    assert all(trial.number == score.number for trial, score in board)

    def first_and_second(score):
        both = -score.val_accuracy, score.val_loss
        return both if rank_by == "accuracy" else both[::-1]

    for (_, one), (_, other) in pairwise(board):
        (first, second), (next_first, next_second) = map(first_and_second, (one, other))
        assert first <= next_first
        if first == next_first:
            assert one.finished >= other.finished
            if one.finished == other.finished:
                assert second <= next_second
                # Alike to the last digit: as in the search.
                assert second < next_second or one.number < other.number


def shown(board, folder, capsys, linear=(), rank_by="log_loss", chosen=None):
    """What was printed, and the lines of the file; by default the first head is chosen."""
    show(board, linear, chosen or (board[0][1] if board else linear[0]), folder, rank_by)
    with (folder / "sweep.csv").open(newline="") as file:
        return capsys.readouterr().out, list(csv.DictReader(file))


def board_of(size, points=None):
    accuracies = np.random.default_rng(size).permutation(size) / max(size, 2)
    trials = [trial_of(number, points[number] if points else None) for number in range(size)]
    scores = [score_of(number, accuracies[number], number / 8) for number in range(size)]
    return ranked(trials, scores, "accuracy")


@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_file_has_all_heads_and_the_terminal_the_best(size, tmp_path, capsys):
    board = board_of(size)
    said, lines = shown(board, tmp_path / "new", capsys, rank_by="accuracy")
    accuracies = [float(line["accuracy"]) for line in lines]
    assert accuracies == [round(score.val_accuracy, 4) for _, score in board]
    assert [line.get("number") for line in lines] == [
        str(trial.number) if size > 1 else None for trial, _ in board
    ]
    rows = [line for line in said.splitlines() if line.startswith("│")]
    assert len(rows) == min(size, 20)
    assert all(f"{accuracies[place]:.4f}" in row for place, row in enumerate(rows))
    for name in PICTURES:  # parameters are drawn where any vary
        assert (tmp_path / "new" / name).exists() == (size > 1 or "parameters" not in name)


def test_pictures_are_pictures(tmp_path, capsys):
    shown(board_of(25), tmp_path, capsys)
    for name in PICTURES:
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_only_options_that_vary_have_columns(tmp_path, capsys):
    points = [
        {"hidden": (), "l2": None, "activation": "relu"},
        {"hidden": (64, 32), "l2": 0.1, "activation": "relu"},
        {"hidden": (), "activation": "relu", "views": ("identity", "flip")},
    ]
    trials = [trial_of(number, point) for number, point in enumerate(points)]
    board = list(zip(trials, [score_of(number, 0.9) for number in range(3)], strict=True))
    _, lines = shown(board, tmp_path, capsys)
    names = ["hidden", "l2", "views"]
    assert list(lines[0])[:3] == names
    assert "activation" not in lines[0]
    assert [[line[name] for name in names] for line in lines] == [
        ["0", "default", ""],
        ["64+32", "0.1", ""],
        ["0", "", "identity+flip"],
    ]


def test_errors_stand_beside_what_they_are_of(tmp_path, capsys):
    scores = [score_of(0, loss=0.5, errors=(0.0123, 0.0456)), score_of(1)]
    said, lines = shown(list(zip(map(trial_of, range(2)), scores, strict=True)), tmp_path, capsys)
    assert [(line["+-"], line["+- "]) for line in lines] == [("0.0123", "0.0456"), ("", "")]
    assert "0.0123" in said


def test_a_search_over_epochs_has_its_values_and_the_epochs_trained(tmp_path, capsys):
    trials = [trial_of(number, {"epochs": epochs}) for number, epochs in enumerate((9, 20))]
    scores = [score_of(0, 0.9, epochs=4), score_of(1, 0.8, epochs=7)]
    show(list(zip(trials, scores, strict=True)), [], scores[0], tmp_path)
    header, *rows = list(csv.reader((tmp_path / "sweep.csv").open(newline="")))
    assert len(set(header)) == len(header)
    for row, of_option, trained in zip(rows, ("9", "20"), ("4", "7"), strict=True):
        assert {of_option, trained} <= set(row)
    values = list(entry(trials[0], scores[0]).values())
    assert 9 in values and 4 in values


def test_an_entry_has_the_options_and_the_scores():
    trial = trial_of(3, {"hidden": (8,), "l2": None})
    told = entry(trial, score_of(3, 0.75, 0.5, finished=False, errors=(0.01, 0.02)))
    assert told.items() >= {
        "hidden": (8,),
        "l2": None,
        "val_accuracy": 0.75,
        "val_loss": 0.5,
        "accuracy_error": 0.01,
        "loss_error": 0.02,
        "best_epoch": 3,
        "finished": False,
        "seconds": 0.25,
    }.items()  # fmt: skip


def test_linear_heads_stand_among_the_others(tmp_path, capsys):
    linear = [LinearScore("linear on top", 0.8125, 0.3, 0.01, 0.02)]
    linear += [LinearScore("linear on all", 0.5, 2.0, 0.01, 0.02)]
    said, lines = shown(board_of(2), tmp_path, capsys, linear)
    assert [line["linear head on"] for line in lines] == ["", "", "linear on top", "linear on all"]
    losses = [float(line["log loss"]) for line in lines]
    assert losses == sorted(losses)
    (line,) = [line for line in said.splitlines() if "linear on top" in line]
    assert "0.8125" in line and "0.0200" in line
    # Without a search there are no columns for what it says.
    _, lines = shown([], tmp_path, capsys, linear)
    assert list(lines[0]) == ["linear head on", "accuracy", "+-", "log loss", "+- ", "chosen"]
    assert not (tmp_path / "sweep-rungs.png").exists()


@pytest.mark.parametrize("place", [0, 7, 19, 20, 27])
def test_the_chosen_head_is_marked_wherever_it_stands(place, tmp_path, capsys, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "transfer.pictures.leaderboard.plot_leaderboard",
        lambda columns, rows, path, title, chosen: drawn.update(rows=rows, chosen=rows[chosen]),
    )
    board = board_of(26)
    # Among the heads of the search two linear ones, of which one may be the chosen one.
    linear = [LinearScore("top", 0.5, 7 / 8 - 0.01, 0.1, 0.1)]
    linear += [LinearScore("all", 0.5, 99.0, 0.1, 0.1)]
    scores = sorted([*(score for _, score in board), *linear], key=lambda one: one.val_loss)
    said, lines = shown(board, tmp_path, capsys, linear, chosen=scores[place])
    assert scores[7] is linear[0] and scores[27] is linear[1]
    assert [number for number, line in enumerate(lines) if line["chosen"]] == [place]
    assert lines[place]["chosen"] == "yes"
    rows = [line for line in said.splitlines() if line.startswith("│")]
    assert len(rows) == len(drawn["rows"]) == (20 if place < 20 else 21)
    assert [number for number, row in enumerate(rows) if "yes" in row] == [min(place, 20)]
    assert f"{scores[place].val_loss:.4f}" in rows[min(place, 20)]
    assert drawn["chosen"] == list(lines[place].values())
    assert ("and the chosen one" in said) == (place >= 20)


def test_a_head_that_diverged_can_be_shown(tmp_path, capsys):
    trials = [trial_of(0), trial_of(1)]
    scores = [score_of(0, 0.9), score_of(1, 0.1, float("inf"), epochs=1)]
    _, lines = shown(list(zip(trials, scores, strict=True)), tmp_path, capsys)
    assert [line["log loss"] for line in lines] == ["1.0000", "inf"]


# ---- luck


@pytest.mark.parametrize("heads", [10, 200])
def test_the_lead_by_luck_is_what_heads_of_equal_worth_lead_by(heads):
    rng = np.random.default_rng(0)
    leads, expected = [], []
    for _ in range(300):
        images = rng.exponential(size=100)  # hard and easy ones, for all heads alike
        losses = images + 0.3 * rng.normal(size=(heads, 100))
        leads.append(losses.mean() - losses.mean(1).min())
        expected.append(luck(losses - losses.mean(0), heads))
    assert np.mean(expected) == pytest.approx(np.mean(leads), rel=0.05)


def test_of_one_fold_nothing_is_known_of_luck():
    board = board_of(3)
    assert deviations(board).shape == (3, 1)
    assert luck(deviations(board), 3) is None


# ---- values in words

WIDTHS = st.integers(1, 5000)
VALUES = {
    "hidden": st.lists(WIDTHS, max_size=3).map(tuple),
    "l2": st.none() | st.floats(0, 1),
    "learning_rate": st.none() | st.floats(1e-9, 1),
    "batch_size": st.none() | WIDTHS,
    "batch_norm": st.booleans(),
    "schedule": st.sampled_from(["constant", "plateau"]),
    "views": st.lists(st.sampled_from(["identity", "flip"]), min_size=1, unique=True).map(tuple),
    "image_size": st.none() | WIDTHS,
}


@given(st.sampled_from(list(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name])))
@settings(deadline=None)
def test_what_the_table_says_can_be_typed(option):
    name, value = option
    word = in_words(value)
    # A bool in the table is Python's; --grid takes small letters.
    word = word.lower() if isinstance(value, bool) else word
    ((found,),) = read_spaces([f"{name}={word}"], option_kinds())[0].values()
    assert found == value and type(found) is type(value)

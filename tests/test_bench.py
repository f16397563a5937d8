"""What `make bench` keeps, what it calls worse than before, and which subjects it takes."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.commands import run_stage
from tests.benchmarks.stored import in_words, read_rows, write_rows
from tests.benchmarks.timing import figure, summary


def row(ratio, spread=0.0, goal=None, what="ours / theirs"):
    fast = 1.0
    pairs = [(ratio - spread / 2, fast), (ratio, fast), (ratio + spread / 2, fast)]
    return summary(what, pairs, goal=goal)


def stored(tmp_path, *rows):
    path = tmp_path / "artifacts" / "bench.json"
    write_rows(path, read_rows(path), rows)
    return read_rows(path)


def test_rows_are_kept_as_last_measured_and_others_stay(tmp_path):
    stored(tmp_path, row(2.0), row(3.0, what="another"))
    kept = stored(tmp_path, row(1.5))
    assert {what: each["ratio"] for what, each in kept.items()} == {
        "ours / theirs": 1.5,
        "another": 3.0,
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", each["day"]) for each in kept.values())


@pytest.mark.parametrize(
    ("before", "now", "fell"),
    [
        ((2.0, 0.2), (1.9, 0.1), False),
        ((2.0, 0.2), (1.7, 0.1), True),
        ((2.0, 0.1), (1.7, 0.5), False),
        ((2.0, 0.1), (2.7, 0.1), False),
        ((2.0, 0.0), (1.99, 0.0), False),
        ((2.0, 0.0), (1.97, 0.0), True),
    ],
)
def test_a_fall_beyond_either_spread_is_marked(tmp_path, before, now, fell):
    known = stored(tmp_path, row(*before))
    assert in_words(row(*now), known).startswith("fell from 2.0 of 2") == fell


def test_a_single_figure_has_no_spread_and_may_miss_its_goal(tmp_path):
    known = stored(tmp_path, figure("accuracy", 0.9, 0.8))
    assert in_words(figure("accuracy", 0.9, 0.8), known) == ""
    assert in_words(figure("accuracy", 0.9, 0.95), known) == "below its goal"
    assert in_words(figure("accuracy", 0.7, 0.8), known).startswith("below its goal, fell from 0.9")
    assert in_words(figure("unseen", 0.9, 0.8), known) == ""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is looked up in /proc")
def test_memory_of_a_command_is_its_own(tmp_path):
    """Whatever the process that measures has had: to wait4 its children begin with that."""
    ballast = np.ones(2**28, np.uint8)  # 256 MiB
    seconds, peak = run_stage("backbones", log=tmp_path / "log")
    assert 0.01 < peak < 0.2 < (ballast.nbytes + 2**20) / 2**30
    assert 0 < seconds < 60
    assert "EfficientNetLite0" in (tmp_path / "log").read_text()
    with pytest.raises(RuntimeError, match="ended with 2"):
        run_stage("no-such-stage")


def test_subjects_are_named_and_others_refused(capsys):
    from tests.benchmarks.__main__ import BY_NAME, QUICK, SUBJECTS, _chosen

    assert _chosen(["panel", "quick", "store"]) == ["panel", *QUICK]
    assert _chosen([]) == [name for name in SUBJECTS if name not in BY_NAME]
    with pytest.raises(SystemExit) as end:
        _chosen(["stroe"])
    assert end.value.code == 2
    assert "received 'stroe'" in capsys.readouterr().err

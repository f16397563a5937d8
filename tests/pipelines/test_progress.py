"""Progress: a bar in a terminal, and the time left, which logs get in one line."""

import io

import pytest

from pipelines import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pipelines.progress.time.monotonic", lambda: now[0])
    return now


def test_the_time_left_is_said_once(clock, capsys):
    note = progress.estimate("features", 10_000)
    for clock[0], done in ((1, 100), (3, 120), (7, 160), (20, 300), (40, 500)):
        note(done)
    assert capsys.readouterr().out == "features: 10 images/s, about 16.4 minutes left\n"


def test_parts_that_come_seldom_are_waited_for(clock, capsys):
    note = progress.estimate("features", 40_960)
    for clock[0], done in ((1, 4096), (10, 4096), (20, 4096), (41, 8192), (50, 8192)):
        note(done)
    assert capsys.readouterr().out == "features: 102 images/s, about 5.3 minutes left\n"


def test_a_terminal_gets_one(monkeypatch):
    from rich.console import Console

    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "console", lambda stderr: Console(file=shown, force_terminal=True, width=120)
    )
    with progress.progress("features", 200) as update:
        update(50, "note")
    assert "features" in shown.getvalue()
    assert "images/s" in shown.getvalue()

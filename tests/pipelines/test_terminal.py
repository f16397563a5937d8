"""What is printed: letter by letter, in one line, in any encoding, and to readers that go."""

import io
import os
import select
import subprocess
import sys
import warnings

import pytest

from pipelines.cli import main
from pipelines.progress import progress, waiting
from pipelines.results import print_table
from pipelines.terminal import complain, lasting_streams, warnings_in_a_line
from tests.places import PROJECT
from transfer.errors import DataWarning

NAMES = ["[red]", "[/nothing]", ":smile:", "Bär", "日本", "a\nb", "\x1b[31m", "\udce9"]
SHOWN = ["[red]", "[/nothing]", ":smile:", "Bär", "日本", r"a\nb", r"\x1b[31m", r"\xe9"]


@pytest.fixture
def closed_pipe(monkeypatch):
    """Standard output and error whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, os.fdopen(os.dup(writer), "w", 1, "utf-8"))
    os.close(writer)


def stream(monkeypatch, encoding, name="stdout"):
    """A standard stream that nothing but this encoding goes through."""
    written = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    monkeypatch.setattr(sys, name, written)
    return lambda: written.buffer.getvalue().decode(encoding)


def test_names_in_a_table_are_names(capsys):
    print_table(f"of {NAMES[0]}", ["name", *NAMES], [[name, *NAMES] for name in NAMES])
    said = capsys.readouterr().out
    title, *lines = said.splitlines()
    assert title.strip() == "of [red]"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert rows == [[name, *SHOWN] for name in SHOWN]


def test_bars_and_waiting_show_names(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = stream(monkeypatch, "utf-8", "stderr")
    with progress("evaluating [red]x", 2) as update:
        update(1, "[/b] y\n")
    with waiting("exporting [/blue]"):
        pass
    assert "evaluating [red]x" in said() and "[/b] y" in said() and "exporting [/blue]" in said()


def test_a_table_keeps_its_shape_where_letters_lack(monkeypatch):
    said = stream(monkeypatch, "ascii")
    with lasting_streams():
        print_table("Bär", ["class", "日本"], [["Bär", "x"], ["y", "z"]])
        print("日")
    *table, last = said().splitlines()
    assert last == r"\u65e5"
    assert r"| B\xe4r | x            |" in table
    assert len({len(line) for line in table}) == 1


def test_a_complaint_keeps_its_own_lines(capsys):
    complain("two files:\n  a\x1b: broken\n  \udce9")
    assert capsys.readouterr().err == "two files:\n  a\\x1b: broken\n  \\xe9\n"


def test_a_reader_that_went_stops_nothing(closed_pipe):
    before = sys.stdout
    with lasting_streams():
        print("x" * 100_000, flush=True)
        print_table("title", ["column"], [["x" * 100]])
        complain("y")
    assert sys.stdout is before
    print("more", flush=True)  # goes nowhere, for the descriptor does now


def test_help_for_a_reader_that_went_is_a_success(closed_pipe):
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--help"])
    assert stop.value.code == 0


def test_a_process_in_any_locale_says_names(tmp_path):
    """Python's own encoding of names and streams is ASCII here; the first line alone is read."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, name in enumerate(["Bär", "日本"]):
        (flat / f"{name}.{number}.jpg").write_bytes(b"image")
    environment = os.environ | {
        "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(PROJECT)
    }  # fmt: skip
    words = ["structure", "--source", "flat", "--target", "photos", "--apply"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *words],
        cwd=tmp_path, env=environment, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"| B\xe4r" in done.stdout and rb"| \u65e5\u672c" in done.stdout
    names = sorted(path.name for path in (tmp_path / "photos").iterdir())
    assert names == ["Bär", "日本"]


def test_a_reader_that_goes_leaves_a_whole_process_at_peace(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "backbones"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_an_unbuffered_process_stays_so():
    """Else what a stage says while it waits would reach a log when it is done."""
    program = "from pipelines.terminal import lasting_streams\nwith lasting_streams():\n    "
    program += "print('now')\n    input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-u", "-c", program], **pipes) as process:
        ready, _, _ = select.select([process.stdout], [], [], 30)
        said = process.stdout.readline() if ready else b""
        process.communicate(b"\n")
    assert said == b"now\n"


def test_what_is_to_be_said_of_data_is_a_line_and_other_warnings_stay(capsys, monkeypatch):
    others = []
    monkeypatch.setattr(
        warnings, "showwarning", lambda message, category, *_: others.append(category)
    )
    with warnings_in_a_line("features"), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("\x1b few levels", DataWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "features: \\x1b few levels\n"
    assert others == [DeprecationWarning]

"""Tables show what they are given, whatever it looks like."""

import io
import sys

from pipelines.cli import main
from pipelines.results import print_table


def test_brackets_and_colons_are_no_styles(capsys):
    names = ["[red]a", "[x].jpg", ":cat:", "[/]"]
    print_table("a [title]", ["[name]"], [[name] for name in names])
    said = capsys.readouterr().out
    assert all(name in said for name in [*names, "a [title]", "[name]"])


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path, monkeypatch):
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, "utf-8"))
    assert main(["--help"]) == 0
    print("a\udcff.jpg", flush=True)
    assert said.getvalue().endswith(b"a\\udcff.jpg\n")

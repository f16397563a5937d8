"""Names of files and classes: in one line, and as text."""

import os

import pytest

from transfer.names import is_utf8, readable, shown


@pytest.mark.parametrize(
    ("name", "as_text", "in_a_line"),
    [
        ("Bär 日本 👩‍🔬 [red] $x$ \\n", *["Bär 日本 👩‍🔬 [red] $x$ \\n"] * 2),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg", r"caf\xe9.jpg"),
        ("a\nb\tc", "a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred\x9b", "\x1b[31mred\x9b", r"\x1b[31mred\x9b"),
        ("gpj.\u202eexe", "gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\ud83d half a pair", r"\ud83d half a pair", r"\ud83d half a pair"),
    ],
)
def test_a_name_is_text_and_one_line(name, as_text, in_a_line):
    assert (readable(name), shown(name)) == (as_text, in_a_line)
    assert is_utf8(name) == (name == as_text)
    as_text.encode()  # does not raise

"""The documents of the project, and the code blocks, commands and headings in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.places import PROJECT

DOCUMENTS = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
]
EXAMPLES = sorted((PROJECT / "docs" / "examples").glob("*.py"))
PROGRAMS = ("make", "transfer")
NO_COMMANDS = ("text", "python", "toml")
"""Languages of fenced blocks that hold no commands: `text` is what a command prints."""


def name_of(path: Path) -> str:
    """Its path within the project."""
    return str(path.relative_to(PROJECT))


@dataclass(frozen=True)
class Block:
    """A code block, fenced or indented.

    Attributes:
        document: Where it stands.
        line: Number of its first line of code, counted from 1.
        language: Behind the fence; empty for an indented block.
        text: The code.
    """

    document: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Document and line, for messages."""
        return f"{name_of(self.document)}:{self.line}"


@cache
def blocks(document: Path) -> tuple[Block, ...]:
    """All code blocks of a document, in order."""
    return tuple(_blocks(document))


def _blocks(document: Path) -> Iterator[Block]:
    lines = document.read_text().splitlines()
    number = 0
    while number < len(lines):
        first = number + 1
        if fence := re.fullmatch(r"```(\w*)", lines[number]):
            number = lines.index("```", first)
            yield Block(document, first + 1, fence[1], "\n".join(lines[first:number]) + "\n")
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            while number < len(lines) and re.match(r"    |\s*$", lines[number]):
                number += 1
            code = [line[4:] for line in lines[first - 1 : number]]
            yield Block(document, first, "", "\n".join(code) + "\n")
            continue
        number += 1


@dataclass(frozen=True)
class Command:
    """A command of ours as a document says it.

    Attributes:
        place: Document and line.
        words: The program first, without variables of the environment in front of it.
        in_block: Whether it stands in a code block, to be typed; else in a sentence.
    """

    place: str
    words: tuple[str, ...]
    in_block: bool

    def __str__(self) -> str:
        return f"{self.place}: {shlex.join(self.words)}"


@cache
def commands(document: Path) -> tuple[Command, ...]:
    """All commands of ours in a document: in blocks, in order, then in sentences."""
    return (*_commands_in_blocks(document), *_commands_in_sentences(document))


def _commands_in_blocks(document: Path) -> Iterator[Command]:
    for block in blocks(document):
        if block.language in NO_COMMANDS:
            continue
        joined = re.sub(r"\\\n\s*", lambda found: " " * len(found[0]), block.text)
        line = block.line
        for text in joined.splitlines():
            yield from _command(text, f"{name_of(document)}:{line}", in_block=True)
            line += 1


def _commands_in_sentences(document: Path) -> Iterator[Command]:
    """What stands between single backticks outside of blocks; it may go over a line's end."""
    inside = {
        line
        for block in blocks(document)
        for line in range(block.line - 1, block.line + block.text.count("\n") + 1)
    }
    lines = enumerate(document.read_text().splitlines(), start=1)
    text = "\n".join("" if number in inside else line for number, line in lines)
    for span in re.finditer(r"(?<!`)`([^`]+)`(?!`)", text):
        line = text.count("\n", 0, span.start()) + 1
        code = " ".join(span[1].split())
        yield from _command(code, f"{name_of(document)}:{line}", in_block=False)


def _command(text: str, place: str, in_block: bool) -> Iterator[Command]:
    words = shlex.split(text, comments=True) if text.strip() else []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words and words[0] in PROGRAMS:
        yield Command(place, tuple(words), in_block)


@cache
def anchors(document: Path) -> frozenset[str]:
    """What `#...` may name in a document: GitHub's slugs of its headings."""
    code = {
        line
        for block in blocks(document)
        for line in range(block.line, block.line + block.text.count("\n"))
    }
    found: list[str] = []
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        if number not in code and (heading := re.fullmatch(r"#{1,6} (.+)", line)):
            slug = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            repeated = found.count(slug)
            found.append(slug)
            if repeated:
                found.append(f"{slug}-{repeated}")
    return frozenset(found)

"""Files of results that grow while images are classified, and are gone on with after a kill.

Rows of `out.csv` lie in `out.csv.part` until all are there. Beside it `out.csv.part.notes` says
what they are the results of and, line by line, how far they reach.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cache.durable import full_disk_in_words, rename, sync
from cache.lock import taken_by_another
from pipelines.counting import counted
from pipelines.predicting.entries import ENDINGS, Entry, as_text
from pipelines.scoring import Scored
from transfer.errors import InputError
from transfer.images.decoding import BadImage
from transfer.names import shown

SECONDS_BETWEEN_NOTES = 1.0
"""What a kill may lose; each note waits for the disk."""


@dataclass(frozen=True)
class _Note:
    """How far a file reaches: to which row of the images, to which byte, and which were bad."""

    stop: int
    bytes: int
    bad: list[list[str]]


@contextmanager
def growing_file(output: Path, key: str, say: Callable[[str], None]) -> Iterator["GrowingFile"]:
    """Opens a file's unfinished part, or begins one.

    Args:
        output: Where the results go in the end.
        key: What they are the results of; rows that are there for another key are dropped.
        say: Told so.

    Raises:
        InputError: If another process writes them, or the part is none of ours.
        CacheError: If the disk is full.
    """
    part = output.with_name(f"{output.name}.part")
    notes = output.with_name(f"{output.name}.part.notes")
    output.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and not notes.exists():
        raise InputError(
            f"{part} is in the way, where results are gathered, and none of this project's; "
            "move it, or choose another --output"
        )
    with full_disk_in_words(output), notes.open("a+b") as noted:
        if taken_by_another(noted.fileno()):
            raise InputError(f"another `transfer predict` writes {output}; wait for it to end")
        with part.open("ab") as rows:
            try:
                yield GrowingFile(output, rows, noted, key, say)
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
                    notes.unlink()


class GrowingFile:
    """Entries that are written as they come; from `growing_file`.

    Attributes:
        stop: One past the last row of the images that was looked at, by earlier runs included.
        bad: The images before it that could not be decoded.
    """

    def __init__(
        self, output: Path, rows: BinaryIO, noted: BinaryIO, key: str, say: Callable[[str], None]
    ) -> None:
        self._output, self._rows, self._noted = output, rows, noted
        self.stop = 0
        self.bad: list[BadImage] = []
        self._unnoted: list[BadImage] = []
        self._noted_at = -SECONDS_BETWEEN_NOTES
        self._go_on(key, say)

    def add(self, entries: Sequence[Entry], scored: Scored) -> None:
        """Writes what was said of some images, which follow those before."""
        if entries:
            text = as_text(entries, self._output.suffix, begins=self._rows.tell() == 0)
            self._rows.write(text.encode())
            self._rows.flush()
        self.stop = scored.stop
        self.bad += scored.bad
        self._unnoted += scored.bad
        if time.monotonic() - self._noted_at >= SECONDS_BETWEEN_NOTES:
            sync(self._rows.fileno())
            bad = [[image.id, image.reason] for image in self._unnoted]
            self._write_line({"stop": self.stop, "bytes": self._rows.tell(), "bad": bad})
            self._unnoted = []
            self._noted_at = time.monotonic()

    def finish(self) -> None:
        """Gives the file its name."""
        self._rows.write(ENDINGS[self._output.suffix].encode())
        self._rows.close()
        self._noted.close()
        rename(Path(self._rows.name), self._output)
        Path(self._noted.name).unlink()

    def _go_on(self, key: str, say: Callable[[str], None]) -> None:
        self._noted.seek(0)
        lines = self._noted.read().splitlines(keepends=True)
        size = self._rows.seek(0, os.SEEK_END)
        kept = _notes_within(lines[1:], size)
        if lines and lines[0] != _line({"key": key}):
            say(f"{shown(self._rows.name)} is of other images, options or models; begins anew")
            kept = []
        for note in kept:
            self.stop = note.stop
            self.bad += [BadImage(id, reason) for id, reason in note.bad]
        self._rows.truncate(kept[-1].bytes if kept else 0)
        self._rows.seek(0, os.SEEK_END)
        self._noted.truncate(sum(map(len, lines[: 1 + len(kept)])) if kept else 0)
        if kept:
            say(f"goes on behind the {counted(self.stop, 'image')} in {shown(self._rows.name)}")
        else:
            self._write_line({"key": key})

    def _write_line(self, values: dict) -> None:
        self._noted.write(_line(values))
        self._noted.flush()


def _line(values: dict) -> bytes:
    return f"{json.dumps(values)}\n".encode()


def _notes_within(lines: Sequence[bytes], size: int) -> list[_Note]:
    """The notes up to the first that is torn, or reaches beyond so many bytes."""
    notes: list[_Note] = []
    for line in lines:
        try:
            note = _Note(**json.loads(line)) if line.endswith(b"\n") else None
        except (ValueError, TypeError):
            break
        if note is None or note.bytes > size:
            break
        notes.append(note)
    return notes

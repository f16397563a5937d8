"""Digests of files remembered from run to run, so that unchanged files are not read again."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import time_ns

import numpy as np

from pipelines.machine.remembered import remember, remembered
from transfer.images.digests import UNREADABLE, File, file_digests
from transfer.images.remote import SETTLED, RemoteFile, is_address

_FORMAT = "cached-transfer file index 2"
_BETWEEN = "\0"
"""In no path of a file."""


def index_path(folder: Path, data: str, kind: str) -> Path:
    """Names an index of a data source.

    Args:
        folder: Where indices lie.
        data: The source as `DataOptions.data` says it.
        kind: What is remembered, "files" for a `FileIndex`.

    Returns:
        `folder / "photos-1a2b3c4d.files.npz"`: its name for the reader, then hexadecimal digits
        that stand for its absolute path.
    """
    source = data if is_address(data) else str(Path(data).expanduser().absolute())
    name = re.sub(r"[^\w.-]+", "-", source.rstrip("/").rpartition("/")[2])[:40] or "data"
    return folder / f"{name}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}.{kind}.npz"


class FileIndex:
    """A `transfer.images.digests.FileDigests` that remembers the digests in one file.

    A file is known by its absolute path or address, and taken for unchanged where its size, mtime,
    ctime and inode are the remembered ones, or what `RemoteFile.state` says. The ctime gives away a
    change behind which the mtime was put back; the inode, two folders of files of one size and tick
    that traded names.

    Like git's index, it trusts no file that was changed less than 2 seconds before it was read, or
    later by that file's own clock: a second change within one tick of the clock would leave no
    trace. Such a file is not remembered and hence read again the next time.
    Source: https://git-scm.com/docs/racy-git

    The index only saves time. One that is damaged or not ours is as good as none, and so is one
    that cannot be written. Of two processes at once, the later one's index stays.
    """

    def __init__(self, path: Path, rehash: bool = False):
        """Reads the index, if there is one.

        Args:
            path: The index, `.npz`; its folder is made when needed.
            rehash: Forget what it holds, and read every file at the first call.
        """
        self._path = path
        self._table = _Table() if rehash else _load(path)
        self._is_saved = not rehash

    @cached_property
    def _entries(self) -> dict[str, str]:
        return self._table.entries()

    def __call__(self, paths: Sequence[File]) -> list[str]:
        """Returns the sha256 of each file, in hexadecimal, or `UNREADABLE`; reads changed files.

        What the index holds on files that are gone is dropped. Files that are merely not asked
        for stay in it: a limited part of the images must not cost the digests of the others.
        """
        names = [_absolute(path) for path in paths]
        # Statuses come before contents: a change between the two is then a difference next time.
        statuses = [
            path.state() if isinstance(path, RemoteFile) else state_of(name)
            for path, name in zip(paths, names, strict=True)
        ]
        states = [state for state, _ in statuses]
        if self._is_saved and (known := self._table.digests_of(names, states)) is not None:
            return known
        entries = [self._entries.get(name, "") for name in names]
        pairs = zip(entries, states, strict=True)
        digests = [entry[:64] if state and entry[65:] == state else "" for entry, state in pairs]
        unknown = [i for i, digest in enumerate(digests) if not digest]
        before_reading = time_ns()
        for i, digest in zip(unknown, file_digests([paths[i] for i in unknown]), strict=True):
            digests[i] = digest
            state, changed = statuses[i]
            is_settled = changed <= before_reading - SETTLED
            is_kept = state and digest != UNREADABLE and is_settled and _BETWEEN not in names[i]
            entries[i] = f"{digest} {state}" if is_kept else ""
        self._replace(dict(zip(names, entries, strict=True)))
        return digests

    def _replace(self, asked: dict[str, str]) -> None:
        """Takes the entries of all files asked for, "" for none, and saves what is new."""
        others = self._entries.keys() - asked.keys()
        kept = {
            name: self._entries[name] for name in others if is_address(name) or state_of(name)[0]
        }
        entries = kept | {name: entry for name, entry in asked.items() if entry}
        if entries != self._entries or not self._is_saved:
            self._entries, self._table = entries, _Table.of(entries)
            self._is_saved = _save(self._path, self._table)


@dataclass(frozen=True)
class _Table:
    """Paths or addresses of files, what `state_of` says of each, and digests, each as one text.

    Of many files that are unchanged texts are read and compared in a tenth of the time that a
    dict takes.
    """

    names: bytes = b""
    states: bytes = b""
    digests: bytes = b""

    @classmethod
    def of(cls, entries: Mapping[str, str]) -> "_Table":
        """Of entries by name: the digest, a space, and the state."""
        digests, states = [], []
        for entry in entries.values():
            digest, _, state = entry.partition(" ")
            digests.append(digest)
            states.append(state)
        return cls(_joined(entries), _joined(states), _joined(digests))

    def entries(self) -> dict[str, str]:
        """What `of` takes."""
        columns = map(_apart, (self.names, self.digests, self.states))
        return {name: f"{digest} {state}" for name, digest, state in zip(*columns, strict=True)}

    def digests_of(self, names: Sequence[str], states: Sequence[str]) -> list[str] | None:
        """All digests, if the files and their states are these; else None."""
        is_same = _joined(names) == self.names and _joined(states) == self.states
        return _apart(self.digests) if is_same else None


def _joined(texts: Iterable[str]) -> bytes:
    return _BETWEEN.join(texts).encode("utf-8", "surrogateescape")


def _apart(joined: bytes) -> list[str]:
    return joined.decode("utf-8", "surrogateescape").split(_BETWEEN) if joined else []


def _absolute(path: File) -> str:
    name = str(path)
    if isinstance(path, RemoteFile) or os.path.isabs(name):  # noqa: PTH117 (as in `state_of`)
        return name
    return f"{Path.cwd()}/{name}"


def state_of(name: str) -> tuple[str, int]:
    """What changes with a file's content, "" where there is none, and when it last did, in ns."""
    try:
        status = os.stat(name)  # noqa: PTH116 (there may be 60,000, and Path.stat is slower)
    except OSError:
        return "", 0
    state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    return state, max(status.st_mtime_ns, status.st_ctime_ns)


def _load(path: Path) -> _Table:
    _, columns = remembered(path, format=_FORMAT) or ({}, {})
    return _Table(**{name: column.tobytes() for name, column in columns.items()})


def _save(path: Path, table: _Table) -> bool:
    """Writes an index whole; says whether that worked."""
    columns = {name: np.frombuffer(column, np.uint8) for name, column in vars(table).items()}
    return remember(path, {"format": _FORMAT}, **columns)

"""Files that are whole or absent: written under a temporary name, synced, renamed.

`cache.durable` is the store's, which knows full disks and makes folders durable as well.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

_WRITING = ".writing-"
"""Begins the name of a file that is not whole yet."""
_KEPT = 40
"""Characters of a name that a temporary one ends in; 255 bytes are the most that disks take."""
_DAY = 86_400
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What network disks and FUSE say that cannot be asked to write at once; others fail with EIO."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, of the same suffix, which becomes `path` atomically.

    On an exception the temporary file is removed and `path` is untouched. Of several processes
    that write at once, one wins whole.

    Args:
        path: Its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f"{_WRITING}{uuid4().hex}-{path.name[-_KEPT:]}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder, from where files and folders move to `folder` if all went well.

    On an exception it is removed and `folder` is untouched; what had the same name is replaced.

    Args:
        folder: Is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{_WRITING}{uuid4().hex}-{folder.name[-_KEPT:]}"
    _remove_leftovers(folder / folder.name)
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                _sync(path)
        for path in sorted(temporary.iterdir()):
            target = folder / path.name
            if target.is_dir():  # which no rename replaces, unless it is empty
                target.rename(temporary / f"{_WRITING}{path.name}")
            path.replace(target)
    finally:
        rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("r+b") as file, suppress_errors(*_CANNOT_SYNC):
        os.fsync(file.fileno())


@contextmanager
def suppress_errors(*numbers: int) -> Iterator[None]:
    """Goes on after an OSError of one of these numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _remove_leftovers(path: Path) -> None:
    """Removes what killed processes left; no file is being written for a day."""
    for temporary in path.parent.glob(f"{_WRITING}*-{escape(path.name[-_KEPT:])}"):
        with suppress(OSError):  # another process may have been as quick
            if time.time() - temporary.stat().st_mtime > _DAY:
                rmtree(temporary) if temporary.is_dir() else temporary.unlink()

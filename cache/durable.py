"""Files that are whole or absent: written under a temporary name, synced, renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from cache.errors import CacheError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What network disks and FUSE say that cannot be asked to write at once; others fail with EIO."""
_CANNOT_OPEN = (errno.EACCES, errno.EISDIR)
"""What Windows says of a folder that is opened as a file is."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success that file becomes `path` atomically.

    Both the file and its folder are synced, where the disk has that, so that after a crash the name
    `path` either does not exist, or holds what it held before, or is complete. On an exception the
    temporary file is removed and `path` is untouched. Temporary names are random, so that no two
    ever write one file, and hold only the beginning of a long one: 255 bytes are the most that
    disks take.

    Raises:
        CacheError: If the disk, or a limit on it, is full.
    """
    # Hidden, so that no listing takes it for a result.
    temporary = path.with_name(f".{path.name[:40]}.{uuid4().hex}.tmp")
    try:
        with full_disk_in_words(path):
            yield temporary
            rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def rename(temporary: Path, path: Path) -> None:
    """Has a file that is written become `path`, atomically, and stay so after a crash."""
    _sync_file(temporary)
    temporary.replace(path)
    _sync_folder(path.parent)


@contextmanager
def full_disk_in_words(path: Path) -> Iterator[None]:
    """Says in a line that there is no room for a file.

    Raises:
        CacheError: If the disk, or a limit on it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        raise CacheError(
            f"no room to write {path} ({free:,} bytes are free on this disk); finished parts are "
            "kept, so make room and run the same command again"
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left; only while nobody writes there."""
    for temporary in folder.glob(".*.tmp"):
        with suppress(OSError):
            temporary.unlink()


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:  # Windows syncs what is open for writing, and nothing else
        sync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Makes a renaming durable, where the disk can be asked to.

    Which errors mean that it cannot: `fsync_fname_ext` in PostgreSQL's src/common/file_utils.c.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _CANNOT_OPEN:
            raise
        return
    try:
        _sync(descriptor, (*_CANNOT_SYNC, errno.EBADF))
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Has what was written to an open file reach the disk, where that can be asked for."""
    _sync(descriptor, _CANNOT_SYNC)


def _sync(descriptor: int, ignored: tuple[int, ...]) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in ignored:
            raise

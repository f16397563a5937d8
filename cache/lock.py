"""One run at a time works on an entry; only time depends on it, never correctness.

Two runs that did write at once would write the same bytes, each to a name of its own, and rename
them into the same place. The lock spares the second run the work.

It is the kernel's (`flock`), so it dies with the process that held it, however that died. On
NFS, Linux turns it into a lock of the server, which lapses when a dead machine's lease does
(usually 90 seconds). Where a disk has no locks, runs go on without.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: both runs work, and the second result replaces the first, equal one
    fcntl = None  # type: ignore[assignment]

_TAKEN = (errno.EAGAIN, errno.EACCES)
_SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def entry_lock(folder: Path, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Waits until no other run works on an entry, and holds others off.

    Args:
        folder: The entry's folder; it is made.
        on_wait: Called once, if there is something to wait for, with the words who holds it.

    Yields:
        Whether others are really held off; False where the disk has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab", buffering=0) as file:
        held = _take(file.fileno(), lambda: on_wait(_holder(file.name)))
        if held:
            with suppress(OSError):  # on a full disk the lock is held without a name
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield held


def taken_by_another(descriptor: int) -> bool:
    """Takes the lock of an open file, until it is closed, unless another process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _TAKEN
    return False


def _take(descriptor: int, on_wait: Callable[[], None]) -> bool:
    if fcntl is None:
        return False
    waiting = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _TAKEN:
                return False
        if not waiting:
            on_wait()
            waiting = True
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _holder(path: str) -> str:
    return Path(path).read_text(encoding="utf-8") or "another process"

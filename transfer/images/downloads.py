"""What is downloaded once, and where Keras keeps such files."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4


def keras_home() -> Path:
    """The folder where Keras keeps what it downloads, found without importing it."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def downloaded(address: str, state: str, download: Callable[[Path], None]) -> Path:
    """Returns the copy of a file, downloaded unless one of the same content is there.

    There is one of each address. A run that is killed leaves none that would be taken for whole.

    Args:
        address: The file's.
        state: Stands for its content; where it is empty, the file is downloaded each time.
        download: Writes the file to a path.
    """
    folder = keras_home() / "datasets" / hashlib.sha256(address.encode()).hexdigest()[:16]
    copy, known = folder / posixpath.basename(address), folder / ".state"
    if state and copy.is_file() and known.is_file() and known.read_text(encoding="utf-8") == state:
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    known.unlink(missing_ok=True)  # before the copy changes
    temporary = folder / f".{uuid4().hex}.tmp"
    try:
        download(temporary)
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)
    known.write_text(state, encoding="utf-8")
    return copy

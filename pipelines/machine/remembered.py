"""Small files of what only saves time: one that is damaged, or not ours, is as good as none."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cache import CacheError
from cache.durable import whole_file

# RuntimeError is zipfile's where a flipped bit says that the file is encrypted, or of another kind.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def remember(path: Path, about: dict[str, Any], **arrays: np.ndarray) -> bool:
    """Writes a file whole, or, where that cannot be, none.

    Args:
        path: Ending in .npz; its folder is made when needed.
        about: Texts, numbers, lists and dicts of such.
        arrays: By any name but "about".

    Returns:
        Whether that worked.
    """
    table = np.frombuffer(json.dumps(about).encode(), np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, about=table, **arrays)  # type: ignore[arg-type]
    except (OSError, CacheError):  # a CacheError where the disk is full
        return False
    return True


def remembered(path: Path, **expected: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Reads what `remember` wrote; checksums tell damage.

    Args:
        path: The file.
        expected: What `about` must say.

    Returns:
        What it says and its arrays, or None where there is no such file.
    """
    try:
        with np.load(path) as saved:
            about = json.loads(saved["about"].tobytes())
            is_ours = isinstance(about, dict) and expected.items() <= about.items()
            if not is_ours:
                return None
            return about, {name: saved[name] for name in saved.files if name != "about"}
    except _DAMAGE:
        return None

"""Small files of what only saves time: one that is damaged, or not ours, is as good as none."""

import json
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cache import CacheError
from cache.durable import whole_file

LEAST_MAPPED = 1 << 24
"""Bytes of an array: of smaller ones a copy is no burden, and no other process can spoil it. On
network disks a file that another machine replaces is gone for those that have mapped it."""
_NAMES = "arrays"
_BLOCK = 1 << 20  # bytes
_LENGTHS = 26
"""Bytes of a zip member's head in front of the lengths of its name and of what follows that.

Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7"""
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
    # A zip has no checksum over the names of what it holds.
    table = np.frombuffer(json.dumps(about | {_NAMES: sorted(arrays)}).encode(), np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, about=table, **arrays)  # type: ignore[arg-type]
    except (OSError, CacheError):  # a CacheError where the disk is full
        return False
    return True


def remembered(
    path: Path, mapped: bool = False, **expected: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Reads what `remember` wrote; checksums tell damage.

    Args:
        path: The file.
        mapped: Leave large arrays on disk: processes share what they use of one, and can give it
            up.
        expected: What `about` must say.

    Returns:
        What it says and its arrays, or None where there is no such file.
    """
    try:
        with np.load(path) as saved:
            about = json.loads(saved["about"].tobytes())
            names = sorted(name for name in saved.files if name != "about")
            is_ours = isinstance(about, dict) and expected.items() <= about.items()
            if not is_ours or about.pop(_NAMES, None) != names:
                return None
            column = partial(_mapped, path, saved) if mapped else saved.__getitem__
            return about, {name: column(name) for name in names}
    except _DAMAGE:
        return None


def _mapped(path: Path, saved: Any, name: str) -> np.ndarray:
    """An array where it lies in its file, if it is large; `numpy.savez` compresses nothing."""
    archive: zipfile.ZipFile = saved.zip
    info = archive.getinfo(f"{name}.npy")
    if info.file_size < LEAST_MAPPED:
        return saved[name]
    with archive.open(info) as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        of_values = member.tell()
        while member.read(_BLOCK):  # the checksum is behind the last byte
            pass
    with path.open("rb") as file:
        file.seek(info.header_offset + _LENGTHS)
        of_member = file.tell() + sum(struct.unpack("<HH", file.read(4))) + 4
    return np.memmap(path, dtype, "r", of_member + of_values, shape).view(np.ndarray)

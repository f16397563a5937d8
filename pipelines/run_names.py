"""Names of runs: by default of data and backbone, so that no two pairs of them meet."""

import hashlib
from pathlib import Path

from transfer.backbones.table import find_backbone
from transfer.errors import InputError
from transfer.images.remote import is_address
from transfer.images.sources import DataOptions, data_name, is_named
from transfer.names import is_utf8, readable, shown

LATEST = "latest"
"""In the folder of runs what leads to the last one; no run may be called so."""
DIGITS = 4
"""Of the digest of the data's path, so that x/images and y/images are two runs."""
LONGEST = 40
"""Characters of the data's name in a run's; a folder's name has 255 bytes at most."""


def default_name(data: DataOptions, backbone: str) -> str:
    """The name of a run that nobody gave one: "photos-efficientnetlite0-3f2a".

    Args:
        data: Which images; those known by a name need no digits.
        backbone: Name of the architecture, however it is spelled.

    Raises:
        InputError: If there is no such backbone.
    """
    of_data = shown(data_name(data))[:LONGEST]
    name = f"{of_data}-{find_backbone(backbone).name}".lower()
    if is_named(data):
        return name
    return f"{name}-{hashlib.sha256(absolute(data.data).encode()).hexdigest()[:DIGITS]}"


def absolute(data: str) -> str:
    """The data's path without a relative part or a link; its name or address if it has one.

    Raises:
        InputError: If the path is not UTF-8.
    """
    if is_named(DataOptions(data)) or is_address(data):
        return data
    path = str(Path(data).expanduser().resolve())
    check_utf8("--data", path)
    return path


def check_utf8(flag: str, path: str) -> None:
    """Refuses a path that `run.toml` cannot hold.

    Raises:
        InputError: If it is not UTF-8.
    """
    if not is_utf8(path):
        raise InputError(f"{flag} expects a path in UTF-8, received {readable(path)!r}; rename it")


def check_name(name: str) -> None:
    """Refuses what cannot be the name of a run's folder.

    Raises:
        InputError: If it is a path, or leads to the last run.
    """
    if name in (LATEST, "..") or Path(name).name != name:
        raise InputError(
            f"a run's name is expected to be that of a folder, not {LATEST!r}, received {name!r}; "
            "give another --run"
        )

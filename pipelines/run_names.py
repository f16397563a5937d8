"""Names of runs: by default of data and backbone, so that no two pairs of them meet."""

import hashlib
from pathlib import Path

from transfer.backbones.table import find_backbone
from transfer.errors import InputError
from transfer.images.remote import is_address
from transfer.images.sources import DataOptions, data_name, is_named

LATEST = "latest"
"""In the folder of runs what leads to the last one; no run may be called so."""
DIGITS = 4
"""Of the digest of the data's path, so that x/images and y/images are two runs."""


def default_name(data: DataOptions, backbone: str) -> str:
    """The name of a run that nobody gave one: "photos-efficientnetlite0-3f2a".

    Args:
        data: Which images; those known by a name need no digits.
        backbone: Name of the architecture, however it is spelled.

    Raises:
        InputError: If there is no such backbone.
    """
    name = f"{data_name(data)}-{find_backbone(backbone).name}".lower()
    if is_named(data):
        return name
    return f"{name}-{hashlib.sha256(absolute(data.data).encode()).hexdigest()[:DIGITS]}"


def absolute(data: str) -> str:
    """The data's path without a relative part or a link; its name or address if it has one."""
    if is_named(DataOptions(data)) or is_address(data):
        return data
    return str(Path(data).expanduser().resolve())


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

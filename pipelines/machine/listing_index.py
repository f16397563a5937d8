"""Listings of compressed tars, each of which costs a pass, remembered from run to run."""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import numpy as np

from cache import CacheError
from cache.durable import whole_file
from pipelines.machine.file_index import state_of
from transfer.images.archives import Listing, TarFiles, kind_of, open_listing
from transfer.images.remote import SETTLED, RemoteFolder

_FORMAT = "cached-transfer listing 1"


@dataclass(frozen=True)
class ListingIndex:
    """A `transfer.images.archives.ListingOf` that remembers what a compressed tar holds.

    An archive is taken for unchanged where a `FileIndex` would take it so. The file only saves
    time: one that is damaged, or cannot be written, is as good as none.

    Attributes:
        path: Of the file, `.npz`; its folder is made when needed.
        rehash: List anew what is remembered.
    """

    path: Path
    rehash: bool = False

    def __call__(self, place: Path | RemoteFolder) -> Listing:
        """Lists a folder or an archive.

        Raises:
            InputError: As `open_listing`.
        """
        if isinstance(place, RemoteFolder) or kind_of(place) in ("folder", "zip", "tar"):
            return open_listing(place)
        state, changed = state_of(str(place.absolute()))  # before the content, as there
        if not self.rehash and state and (known := _load(self.path, place, state)):
            return known
        before_reading = time_ns()
        listing = open_listing(place)
        if state and changed <= before_reading - SETTLED:
            _save(self.path, listing, state)
        return listing


def _save(path: Path, listing: Listing, state: str) -> None:
    contents = listing.contents
    assert isinstance(contents, TarFiles)
    assert contents.digests is not None
    about = {
        "format": _FORMAT,
        "state": state,
        "compression": contents.compression,
        "folders": listing.folders,
        "files": listing.files,
        "bad_heads": {str(member): reason for member, reason in contents.bad_heads.items()},
    }
    arrays = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "offsets": contents.offsets,
        "sizes": contents.sizes,
        "digests": contents.digests,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except (OSError, CacheError):  # a CacheError where the disk is full
        return


def _load(path: Path, place: Path, state: str) -> Listing | None:
    """What is remembered of an archive in this state; the zip's checksums tell damage."""
    try:
        with np.load(path) as saved:
            about = json.loads(saved["about"].tobytes())
            if (about["format"], about["state"]) != (_FORMAT, state):
                return None
            bad_heads = {int(member): reason for member, reason in about["bad_heads"].items()}
            places = saved["offsets"], saved["sizes"], saved["digests"]
            contents = TarFiles(place, about["compression"], *places, bad_heads)
            return Listing(place, about["files"], about["folders"], contents)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None

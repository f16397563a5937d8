"""Listings of compressed tars, each of which costs a pass, remembered from run to run."""

from dataclasses import dataclass
from pathlib import Path
from time import time_ns

from pipelines.machine.file_index import state_of
from pipelines.machine.remembered import remember, remembered
from transfer.images.archives import Listing, TarFiles, kind_of, open_listing
from transfer.images.remote import SETTLED, RemoteFolder

_FORMAT = "cached-transfer listing 1"


@dataclass(frozen=True)
class ListingIndex:
    """A `transfer.images.archives.ListingOf` that remembers what a compressed tar holds.

    An archive is taken for unchanged where a `FileIndex` would take it so.

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
    places = {"offsets": contents.offsets, "sizes": contents.sizes, "digests": contents.digests}
    remember(path, about, **places)


def _load(path: Path, place: Path, state: str) -> Listing | None:
    """What is remembered of an archive in this state."""
    if not (known := remembered(path, format=_FORMAT, state=state)):
        return None
    about, arrays = known
    bad_heads = {int(member): reason for member, reason in about["bad_heads"].items()}
    places = arrays["offsets"], arrays["sizes"], arrays["digests"]
    contents = TarFiles(place, about["compression"], *places, bad_heads)
    return Listing(place, about["files"], about["folders"], contents)

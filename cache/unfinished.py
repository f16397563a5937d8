"""Entries that are not sealed: their parts, read as one file that gives rows to others."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cache.digest_index import DigestIndex
from cache.errors import CacheError
from cache.parts import PARTS, Part
from cache.reader import SEALED, FeatureFile
from cache.spec import FeatureSpec
from cache.verify import sound_rows


class UnfinishedFile:
    """Rows of all parts of an entry that are on disk now, in row order.

    A part is read whole and compared with its checksums. Where another run seals the entry
    meanwhile, and removes its parts, the sealed file gives the same rows.

    Args:
        folder: The entry's.

    Attributes:
        path: Its folder of parts.
        spec: What it is made from.
        cuts: Names of its cuts.
        image_digests: `(rows, 32)` uint8, the sha256 of each image; zeros of bad images.

    Raises:
        CacheError: If it has no part that says what it holds.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._folder = folder / PARTS, folder
        self._parts: list[Part] = []
        digests: list[np.ndarray] = []
        about: set[tuple[FeatureSpec, tuple[str, ...]]] = set()
        for path in sorted(self.path.glob("*.h5")):
            try:
                spec, cuts, found = Part(path, 0, 0).images()
            except (CacheError, FileNotFoundError):
                continue
            about.add((spec, cuts))
            start = sum(map(len, digests))
            self._parts.append(Part(path, start, start + len(found)))
            digests.append(found)
        if len(about) != 1:
            raise CacheError(f"{self.path}: expected parts of one entry, found {len(about)}")
        ((self.spec, self.cuts),) = about
        self.image_digests = np.concatenate(digests)

    def digest_blocks(self) -> Iterator[np.ndarray]:
        """The digests of its images in row order: `(rows, 32)` uint8 of some at a time."""
        yield self.image_digests

    def sound_rows(self, cut: str) -> np.ndarray:
        """Which rows of a cut are as they were written, `(rows,)` bool."""
        sound = np.zeros(len(self.image_digests), bool)
        for part in self._parts:
            try:
                part.read(cut)
            except (CacheError, FileNotFoundError):
                continue
            sound[part.start : part.stop] = True
        return sound

    def read_sound_rows(self, cut: str, rows: np.ndarray) -> np.ndarray:
        """Reads rows, `(len(rows), ...)`.

        Args:
            cut: One of the cuts.
            rows: Row numbers, strictly increasing, all of `sound_rows`.

        Raises:
            CacheError: If they were damaged since.
        """
        return np.concatenate([*self._rows(cut, rows)])

    def close(self) -> None:
        """Nothing is open between two calls."""

    def __enter__(self) -> "UnfinishedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, cut: str, rows: np.ndarray) -> Iterator[np.ndarray]:
        for part in self._parts:
            wanted = rows[(rows >= part.start) & (rows < part.stop)]
            if not len(wanted):
                continue
            try:
                yield part.read(cut)[0][wanted - part.start]
            except FileNotFoundError:
                yield self._sealed_rows(cut, wanted)

    def _sealed_rows(self, cut: str, rows: np.ndarray) -> np.ndarray:
        with FeatureFile(self._folder / SEALED) as sealed:
            there = DigestIndex(self.image_digests[rows]).find(sealed.digest_blocks())
            wanted, back = np.unique(there, return_inverse=True)
            if np.any(there < 0) or not sound_rows(sealed, cut)[wanted].all():
                raise CacheError(f"{sealed.path}: rows are damaged; run `transfer cache verify`")
            return sealed.read_sound_rows(cut, wanted)[back]

"""Finds images by their digests: a sorted table, in place of a Python object for each."""

from collections.abc import Iterable

import numpy as np


class DigestIndex:
    """Says which of some images another table of digests has, and in which of its rows.

    The other table passes by in blocks, so that memory goes by the images that are looked for:
    16 bytes each beside their digests, which may be mapped from a disk.

    Args:
        digests: `(count, 32)` uint8, the sha256 of each image; zeros stand for an unknown one.
    """

    def __init__(self, digests: np.ndarray) -> None:
        self._digests = digests
        known = np.flatnonzero(digests.any(axis=1))
        prefixes = _prefixes(digests)[known]
        order = np.argsort(prefixes, kind="stable")
        self._rows, self._prefixes = known[order], prefixes[order]

    def find(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Looks through another table.

        Args:
            blocks: Its rows, in order: each `(rows, 32)` uint8.

        Returns:
            `(count,)` int64: its first row with the digest of each image, or -1.
        """
        found = np.full(len(self._digests), -1)
        start = 0
        for block in blocks:
            first = _first_of_each(block)
            wanted, passing = self._pairs(block[first])
            # Some bytes are the same; and a block before may have had it.
            matches = (self._digests[wanted] == block[first[passing]]).all(axis=1)
            matches &= found[wanted] < 0
            found[wanted[matches]] = start + first[passing[matches]]
            start += len(block)
        return found

    def _pairs(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images, and rows of `digests`, that begin with the same bytes."""
        prefixes = _prefixes(digests)
        begins = np.searchsorted(self._prefixes, prefixes, "left")
        counts = np.searchsorted(self._prefixes, prefixes, "right") - begins
        passing = np.repeat(np.arange(len(digests)), counts)
        within = np.arange(len(passing)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._rows[begins[passing] + within], passing


def _prefixes(digests: np.ndarray) -> np.ndarray:
    """The first bytes of each, as a number that sorts as they do."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.uint64)


def _first_of_each(digests: np.ndarray) -> np.ndarray:
    """Rows of digests that no row before has: a thousand copies of an image are looked up once."""
    keys = np.ascontiguousarray(digests, np.uint8).reshape(-1, 32).view("S32").ravel()
    return np.unique(keys, return_index=True)[1]

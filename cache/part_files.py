"""Features of a sealed file that lie in parts, to which it refers."""

from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from cache.parts import part_name
from cache.sealing import REFERENCE, REFERRED

MOST_OPEN = 64
"""Files at a time; systems allow some hundred."""


class PartFiles:
    """Finds rows of features in the parts of a file that was sealed by reference.

    Args:
        path: Of the sealed file.
        file: The same, open.
        cuts: Names of the cuts, in order.

    Attributes:
        num_rows: Rows of all parts, those that were left out included.
        rows: `(rows of the sealed file,)` int64: the number that each has in the parts; None where
            none was left out.
        rows_per_chunk: Per cut.
    """

    def __init__(self, path: Path, file: h5py.File, cuts: tuple[str, ...]) -> None:
        group = file[REFERENCE]
        self._folder = path.parent / REFERRED
        self._bounds = file["parts"][...]
        self._offsets = dict(zip(cuts, group["offsets"][...].T, strict=True))
        features = {cut: file["features"][cut] for cut in cuts}
        self._row_bytes = {
            cut: each.dtype.itemsize * int(np.prod(each.shape[1:]))
            for cut, each in features.items()
        }
        self.num_rows = int(self._bounds[-1])
        skipped = group["skipped_rows"][...]
        self.rows: np.ndarray | None = None
        if len(skipped):
            is_kept = np.ones(self.num_rows, bool)
            is_kept[skipped] = False
            self.rows = np.flatnonzero(is_kept)
        self.rows_per_chunk = dict(zip(cuts, group["rows_per_chunk"][...].tolist(), strict=True))
        # A file that is given up is closed when the last thread that reads from it is done.
        self._opened = lru_cache(MOST_OPEN)(self._open)

    def place(self, cut: str, row: int) -> tuple[BinaryIO, int]:
        """The file that has a row, and its first byte there; rows behind it follow.

        Raises:
            OSError: If the file is gone.
        """
        part = int(np.searchsorted(self._bounds, row, side="right")) - 1
        offset = int(self._offsets[cut][part])
        start = int(self._bounds[part])
        return self._opened(start), offset + (row - start) * self._row_bytes[cut]

    def close(self) -> None:
        """Closes all files."""
        self._opened.cache_clear()

    def _open(self, start: int) -> BinaryIO:
        return (self._folder / part_name(start)).open("rb", buffering=0)

"""Checksums of features, at three grains.

- parts: the sha256 of each part as it was first written, carried into the sealed file;
- chunks: the CRC-32 of each chunk, checked at every read;
- rows: the CRC-32 of each row, which say exactly which rows are damaged.

HDF5's own fletcher32 is in the file as well, for other programs.
"""

import hashlib

import numpy as np

try:
    from isal.isal_zlib import crc32  # the same values, nearly three times as fast
except ImportError:  # no wheel for this machine
    from zlib import crc32


def digest(values: np.ndarray) -> str:
    """The sha256 of an array's bytes, hex."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def row_checksums(values: np.ndarray) -> np.ndarray:
    """The CRC-32 of each row's bytes, `(rows,)` uint32."""
    view = np.ascontiguousarray(values).data.cast("B") if values.size else memoryview(b"")
    size = len(view) // max(1, len(values))
    sums = (crc32(view[start : start + size]) for start in range(0, len(view), size or 1))
    return np.fromiter(sums, np.uint32)


class ChunkChecksums:
    """The CRC-32 of each chunk of rows that come in pieces of any length.

    Args:
        rows_per_chunk: Rows of every chunk but the last.
    """

    def __init__(self, rows_per_chunk: int) -> None:
        self._rows_per_chunk = rows_per_chunk
        self._room = rows_per_chunk
        self._finished: list[int] = []
        self._running = 0

    def add(self, values: np.ndarray) -> None:
        """Takes the next rows."""
        while len(values):
            piece, values = values[: self._room], values[self._room :]
            self._running = crc32(np.ascontiguousarray(piece).data, self._running)
            self._room -= len(piece)
            if not self._room:
                self._close()

    def finish(self) -> np.ndarray:
        """The checksums, `(chunks,)` uint32."""
        if self._room < self._rows_per_chunk:
            self._close()
        return np.array(self._finished, np.uint32)

    def _close(self) -> None:
        self._finished.append(self._running)
        self._running, self._room = 0, self._rows_per_chunk

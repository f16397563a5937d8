"""Parts: the fixed runs of rows in which features reach the disk."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from cache.durable import whole_file
from cache.errors import CacheError

PART_BYTES = 32 * 2**20


def rows_per_part(row_bytes: int) -> int:
    """Rows in one part: a power of two from 64 to 4096 that keeps a part near 32 MiB.

    It follows from the width of a row alone, so that every run of one spec cuts alike.
    """
    rows = 4096
    while rows > 64 and rows * row_bytes > PART_BYTES:
        rows //= 2
    return rows


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` of all datasets, as one file on disk.

    Attributes:
        path: Where the file is, or will be.
        start: First row.
        stop: One past the last row.
    """

    path: Path
    start: int
    stop: int

    def write(self, key: str, features: dict[str, np.ndarray], bad: dict[int, str]) -> None:
        """Writes the part whole: it exists under its name only when it is complete.

        Args:
            key: Key of the spec the rows belong to.
            features: Per dataset `(stop - start, ...)`.
            bad: Row numbers (of the whole set) that hold no features, with the reason.
        """
        with whole_file(self.path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(key=key, start=self.start, stop=self.stop)
            for name, values in features.items():
                dataset = file.create_dataset(name, data=values)
                dataset.attrs["sha256"] = digest(values)
            file["bad_rows"] = np.array(sorted(bad), dtype=np.int64)
            reasons = [bad[row] for row in sorted(bad)]
            file.create_dataset("bad_reasons", data=reasons, dtype=h5py.string_dtype())

    def is_complete(self, key: str) -> bool:
        """Whether the file is there and belongs to `key`; a foreign or broken one is not."""
        try:
            with h5py.File(self.path, "r") as file:
                attributes = dict(file.attrs)
        except OSError:
            return False
        return (attributes.get("key"), attributes.get("start"), attributes.get("stop")) == (
            key,
            self.start,
            self.stop,
        )

    def read(self, name: str) -> np.ndarray:
        """One dataset of the part, `(stop - start, ...)`, checked against its digest.

        Raises:
            CacheError: If the bytes are not those that were written.
        """
        with h5py.File(self.path, "r") as file:
            values = file[name][...]
            expected = file[name].attrs["sha256"]
        if digest(values) != expected:
            raise CacheError(
                f"{self.path}: rows {self.start} to {self.stop} of {name!r} are damaged "
                "(checksum differs); delete this file and run the same command again"
            )
        return values

    def bad(self) -> dict[int, str]:
        """Rows without features, with the reason."""
        with h5py.File(self.path, "r") as file:
            return dict(
                zip(file["bad_rows"][...].tolist(), file["bad_reasons"].asstr()[...], strict=True)
            )


def digest(values: np.ndarray) -> str:
    """The sha256 of an array's bytes, hex."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()

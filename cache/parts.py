"""Parts: the fixed runs of rows in which features reach the disk."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from cache import hdf5
from cache.checksums import ChunkChecksums, digest, row_checksums
from cache.durable import whole_file
from cache.errors import CacheError
from cache.spec import FeatureSpec

PARTS = "parts"
"""Folder, beside a feature file, of the parts that it is made of."""
PART_BYTES = 32 * 2**20
CHUNK_BYTES = 2**18
DIGESTS = "image_digests"
CHECKSUMS = "checksums"


def part_name(start: int) -> str:
    """Name of the file of a part that begins at a row."""
    return f"{start:010d}.h5"


def rows_per_part(row_bytes: int) -> int:
    """Rows in one part: a power of two from 64 to 4096 that keeps a part near 32 MiB.

    It follows from the width of a row alone, so that every run of one spec cuts alike.
    """
    rows = 4096
    while rows > 64 and rows * row_bytes > PART_BYTES:
        rows //= 2
    return rows


def rows_per_chunk(of_part: int, row_bytes: int) -> int:
    """Rows of one dataset that are checked together.

    One-row chunks make reading ruinous, whole-file chunks make it wasteful. A power of two, as the
    rows of a part, so that chunks end where parts end.

    Args:
        of_part: From `rows_per_part`.
        row_bytes: Of this dataset.
    """
    rows = max(1, CHUNK_BYTES // max(1, row_bytes))
    return min(of_part, 2 ** (rows.bit_length() - 1))


@dataclass(frozen=True)
class Stored:
    """Where the datasets of a part are in its file, and their checksums, see `cache.checksums`.

    Attributes:
        offsets: First byte of each.
        digests: Of each, hex.
        row_checksums: Of each, `(rows,)`.
        chunk_checksums: Of each, `(chunks,)`.
    """

    offsets: tuple[int, ...]
    digests: tuple[str, ...]
    row_checksums: tuple[np.ndarray, ...]
    chunk_checksums: tuple[np.ndarray, ...]


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

    def write(
        self,
        spec: FeatureSpec,
        features: Mapping[str, np.ndarray],
        bad: Mapping[int, str],
        image_digests: np.ndarray,
    ) -> None:
        """Writes the part whole: it exists under its name only when it is complete.

        Args:
            spec: What the rows belong to.
            features: Per dataset `(stop - start, ...)`.
            bad: Row numbers (of the whole set) that hold no features, with the reason.
            image_digests: `(stop - start, 32)` uint8, the sha256 of each image; zeros if unknown.

        Raises:
            CacheError: If there is no room on the disk.
        """
        num_rows = self.stop - self.start
        of_part = rows_per_part(sum(values.nbytes for values in features.values()) // num_rows)
        with whole_file(self.path) as temporary, hdf5.create(temporary) as file:
            file.attrs.update(key=spec.key, spec=spec.to_json(), start=self.start, stop=self.stop)
            checksums = hdf5.add_group(file, CHECKSUMS)
            for name, values in features.items():
                dataset = file.create_dataset(name, data=values)
                dataset.attrs["sha256"] = digest(values)
                chunks = ChunkChecksums(rows_per_chunk(of_part, values.nbytes // num_rows))
                chunks.add(values)
                group = hdf5.add_group(checksums, name)
                hdf5.add_table(group, "rows", row_checksums(values))
                hdf5.add_table(group, "chunks", chunks.finish())
            hdf5.add_table(file, DIGESTS, image_digests)
            hdf5.add_table(file, "bad_rows", np.array(sorted(bad), dtype=np.int64))
            hdf5.add_texts(file, "bad_reasons", [bad[row] for row in sorted(bad)])

    def is_sound(self, key: str, names: Collection[str]) -> bool:
        """Whether the file is there, belongs to `key`, and holds what was written, to the byte."""
        try:
            with self._opened() as file:
                owner = [file.attrs.get(name) for name in ("key", "start", "stop")]
            if owner != [key, self.start, self.stop]:
                return False
            for name in names:
                self.read(name)
            self.stored(names)
            self.bad()
        except (CacheError, FileNotFoundError):
            return False
        return True

    def read(self, name: str) -> tuple[np.ndarray, Stored]:
        """One dataset of the part, `(stop - start, ...)`, checked by the checksums of its chunks.

        Their SHA-256, ten times as slow, is checked by `cache.verify`.

        Returns:
            The dataset, and its checksums.

        Raises:
            CacheError: If the bytes are not those that were written.
            FileNotFoundError: If there is no such part.
        """
        with self._opened() as file:
            values, stored = file[name][...], _stored(file, [name])
        (expected,) = stored.chunk_checksums
        # A chunk has a power of two of rows: the least of which so many hold them all.
        chunks = ChunkChecksums(2 ** (-(-len(values) // len(expected)) - 1).bit_length())
        chunks.add(values)
        if not np.array_equal(chunks.finish(), expected):
            raise self._damaged("checksum differs")
        return values, stored

    def stored(self, names: Collection[str]) -> Stored:
        """Where some datasets are, and their checksums; no features are read; raises as `read`."""
        with self._opened() as file:
            return _stored(file, names)

    def bad(self) -> dict[int, str]:
        """Rows without features, with the reason; raises as `read`."""
        with self._opened() as file:
            rows = file["bad_rows"][...].tolist()
            return dict(zip(rows, hdf5.texts(file["bad_reasons"]), strict=True))

    def images(self) -> tuple[FeatureSpec, tuple[str, ...], np.ndarray]:
        """Of what the rows are, their datasets, and `(rows, 32)` digests; zeros of bad images.

        Raises:
            CacheError: If the part is damaged.
            FileNotFoundError: If there is no such part.
        """
        with self._opened() as file:
            spec = FeatureSpec.from_json(file.attrs["spec"])
            digests = file[DIGESTS][...]
            names = tuple(name for name, each in file.items() if "sha256" in each.attrs)
            if spec.key != file.attrs["key"]:  # HDF5 gives attributes no checksum
                raise self._damaged("key differs")
        digests[[row - self.start for row in self.bad()]] = 0
        return spec, names, digests

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        try:
            with hdf5.open_file(self.path) as file:
                yield file
        except FileNotFoundError:
            raise
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            if not self.path.exists():  # removed while it was opened; HDF5 says it in many ways
                raise FileNotFoundError(self.path) from None
            raise self._damaged(" ".join(str(error).split())) from None

    def _damaged(self, reason: str) -> CacheError:
        return CacheError(
            f"{self.path}: rows {self.start} to {self.stop} are damaged ({reason}); "
            "run the same command again, they will be extracted anew"
        )


def _stored(file: h5py.File, names: Collection[str]) -> Stored:
    return Stored(
        tuple(file[name].id.get_offset() for name in names),
        tuple(file[name].attrs["sha256"] for name in names),
        tuple(file[CHECKSUMS][name]["rows"][...] for name in names),
        tuple(file[CHECKSUMS][name]["chunks"][...] for name in names),
    )

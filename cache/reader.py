"""Opens a sealed feature file and reads from it; what is damaged raises."""

import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, TypeVar

import h5py
import numpy as np

from cache import hdf5
from cache.checksums import crc32, row_checksums
from cache.errors import CacheError
from cache.part_files import PartFiles
from cache.sealing import REFERENCE
from cache.spec import FORMAT_VERSION, FeatureSpec

THREADS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
"""At a time; more than there are processors are slower, and more than these read no faster."""
CHUNKS_PER_TASK = 8
FEW = 4
"""Where less than 1 / FEW of a chunk is wanted, only the span of these rows is read."""
DIGESTS_AT_ONCE = 2**16
"""2 MiB, whole chunks of the file: more at a time are looked up faster."""
SEALED = "features.h5"
"""Name of a sealed feature file in the folder of its entry."""

_Result = TypeVar("_Result")


def entry_path(root: Path, key: str) -> Path:
    """Where the sealed file of a key lies, whether it exists or not."""
    return Path(root) / key[:16] / SEALED


@dataclass(frozen=True)
class _Column:
    """A cut that is read.

    Attributes:
        cut: Its name.
        target: `(rows, ...)`, where its rows go.
        bounds: Positions of rows at which another chunk begins, and the last end.
    """

    cut: str
    target: np.ndarray
    bounds: np.ndarray


class FeatureFile:
    """A sealed feature file, open for reading; use it in a `with` block.

    Opening checks structure and key, in milliseconds; reading checks what it reads. Any number
    of processes may read one file.

    Args:
        path: A `features.h5`.
        key: If given, the key that the file must have.

    Raises:
        CacheError: If the file is missing, damaged, incomplete, or has another key.
    """

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path = Path(path)
        try:
            self._file, self._raw = _open_both(self.path)
        except FileNotFoundError:
            raise CacheError(f"no feature file at {self.path}; run `transfer features`") from None
        except (OSError, RuntimeError) as error:
            raise CacheError(
                f"{self.path} is no readable HDF5 file ({_line(error)}); "
                "mend it with `transfer cache verify --repair`"
            ) from None
        self._raw_lock = threading.Lock()
        self._referred: PartFiles | None = None
        try:
            self._sound("structure", lambda: self._check_structure(key))
        except BaseException:
            self.close()
            raise

    def _check_structure(self, key: str | None) -> None:
        file = self._file
        found = file.attrs.get("key")
        if found is None or "spec" not in file.attrs:
            raise CacheError(f"{self.path} is an HDF5 file, but not a sealed feature file")
        version = json.loads(file.attrs["spec"]).get("format_version")
        if version != FORMAT_VERSION:
            raise CacheError(
                f"{self.path} is of format {version}, this version reads {FORMAT_VERSION}; "
                "remove it with `transfer cache remove` and run `transfer features` again"
            )
        self.key: str = found
        self.spec = FeatureSpec.from_json(file.attrs["spec"])
        if self.spec.key != self.key or key not in (None, self.key):
            expected = self.spec.key if key is None else key
            raise CacheError(f"{self.path}: expected key {expected}, received {self.key}")
        self.cuts: tuple[str, ...] = tuple(json.loads(file.attrs["cuts"]))
        if REFERENCE in file:
            self._referred = PartFiles(self.path, file, self.cuts)
        names = ("labels", "ids", "given_split", "image_digests")
        lengths = {len(file[name]) for name in names}
        lengths |= {len(file["features"][cut]) for cut in self.cuts}
        self._num_rows: int = max(lengths)
        checked = {len(file["checksums"][cut]["rows"]) for cut in self.cuts}
        if len(lengths) != 1 or checked != {self.num_stored}:
            raise CacheError(f"{self.path}: its datasets differ in length; extract it again")
        # Looked up for every chunk; HDF5 would open the dataset each time, one thread at a time.
        datasets = {cut: file["features"][cut] for cut in self.cuts}
        self._shapes = {cut: dataset.shape[1:] for cut, dataset in datasets.items()}
        self._chunks = {cut: dataset.chunks for cut, dataset in datasets.items()}
        # Streaming reads the same file thousands of times.
        self._checksums: dict[tuple[str, str], np.ndarray] = {}
        self._offsets: dict[str, dict[int, int]] = {}

    def __enter__(self) -> "FeatureFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._num_rows

    def close(self) -> None:
        """Closes the file; what was read stays valid."""
        if self._referred:
            self._referred.close()
        self._file.close()
        self._raw.close()

    @cached_property
    def labels(self) -> np.ndarray:
        """`(rows,)` int64."""
        return self.table("labels")

    @cached_property
    def ids(self) -> np.ndarray:
        """`(rows,)` str objects."""
        return self._texts("ids")

    @cached_property
    def encoded_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids as bytes and the places where each begins, see `hdf5.encoded_texts`."""
        return self._sound("ids", lambda: hdf5.encoded_texts(self._file["ids"]))

    @cached_property
    def given_split(self) -> np.ndarray:
        """`(rows,)` of `"train"`, `"val"` and `"test"`, as the source of the images gives them."""
        return self.table("given_split").astype("U5")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return tuple(self._texts("class_names"))

    @cached_property
    def image_digests(self) -> np.ndarray:
        """`(rows, 32)` uint8: the sha256 of each image; zeros where none is known."""
        return self.table("image_digests")

    def digest_blocks(self) -> Iterator[np.ndarray]:
        """The same digests in row order, `(rows, 32)` uint8 of some at a time.

        Raises:
            CacheError: If one is damaged.
        """
        table = self._file["image_digests"]
        for start in range(0, len(table), DIGESTS_AT_ONCE):
            rows = slice(start, start + DIGESTS_AT_ONCE)
            yield self._sound("image_digests", partial(table.__getitem__, rows))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Ids and reasons of images that were set aside."""
        return list(zip(self._texts("skipped_ids"), self._texts("skipped_reasons"), strict=True))

    @property
    def by_reference(self) -> bool:
        """Whether features lie in parts to which this file refers."""
        return self._referred is not None

    @property
    def num_stored(self) -> int:
        """Rows that are stored; where the file refers to parts, also those that were left out."""
        return self._referred.num_rows if self._referred else self._num_rows

    @property
    def stored_rows(self) -> np.ndarray:
        """`(rows,)` int64: the number of each row among those that are stored."""
        return self._as_stored(np.arange(len(self)))

    @cached_property
    def parts(self) -> np.ndarray:
        """`(parts + 1,)` int64: the stored rows at which parts begin, and the number of them."""
        return self.table("parts")

    def checksums(self, cut: str, grain: str) -> np.ndarray:
        """Checksums of a cut, see `cache.checksums`; grain is `rows`, `chunks` or `parts`."""
        if (cut, grain) not in self._checksums:
            self._checksums[cut, grain] = self.table(f"checksums/{cut}/{grain}")
        return self._checksums[cut, grain]

    @property
    def dtype(self) -> np.dtype:
        """In which the features are stored, float32 or float16."""
        return np.dtype(self.spec.dtype)

    def shape(self, cut: str) -> tuple[int, ...]:
        """Shape of one row of a cut; with several views the first axis counts them."""
        return self._shapes[cut]

    def rows_per_chunk(self, cut: str) -> int:
        """Stored rows that are read together."""
        if self._referred:
            return self._referred.rows_per_chunk[cut]
        chunks = self._chunks[cut]
        return chunks[0] if chunks else max(1, len(self))

    def joined_shape(self, cuts: Sequence[str] | None = None) -> tuple[int, ...]:
        """Shape of one row of what `read` returns.

        Raises:
            CacheError: If a cut is unknown, or cuts cannot be joined.
        """
        shapes = [self.shape(name) for name in self._names(cuts)]
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def read(
        self, rows: np.ndarray, cuts: Sequence[str] | None = None, threads: int = THREADS
    ) -> np.ndarray:
        """The features of some rows, all chosen cuts joined along the last axis.

        Args:
            rows: Row numbers, strictly increasing.
            cuts: Names of cuts, or None for all; several must all be vectors.
            threads: That read; one takes half the processor time of two.

        Returns:
            `(len(rows), ...)` in the file's dtype: one array, filled chunk by chunk, so that
            memory stays at the result plus a few chunks.

        Raises:
            CacheError: If a cut is unknown, cuts cannot be joined, or a checksum is wrong.
        """
        result = np.empty((len(rows), *self.joined_shape(cuts)), self.dtype)
        rows = self._as_stored(rows)
        columns, end = [], 0
        for name in self._names(cuts):
            start, end = end, end + self.shape(name)[-1]
            columns.append(_Column(name, result[..., start:end], self._bounds(name, rows)))
            if not self._referred:
                self._offsets_of(name)  # looked up here, once, and not by every thread
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda span: self._fill(rows, columns, *span), _tasks(columns)))
        return result

    def read_sound_rows(self, cut: str, rows: np.ndarray) -> np.ndarray:
        """Reads rows by their own checksums, also out of chunks that are not sound throughout.

        Args:
            cut: One of the cuts.
            rows: Row numbers, strictly increasing, all of `cache.verify.sound_rows`.

        Returns:
            `(len(rows), ...)` in the file's dtype.

        Raises:
            CacheError: If a row is damaged after all.
        """
        result = np.empty((len(rows), *self.shape(cut)), self.dtype)
        rows = self._as_stored(rows)
        scratch = np.empty((self.rows_per_chunk(cut), *self.shape(cut)), self.dtype)
        for first, last in pairwise(self._bounds(cut, rows).tolist()):
            result[first:last] = self._few_rows(cut, rows[first:last], scratch)
        return result

    def chunk(self, cut: str, index: int) -> np.ndarray:
        """A chunk of stored rows as it is on disk, unchecked; NaN, never stored, if unreadable."""
        shape, rows_per_chunk = self.shape(cut), self.rows_per_chunk(cut)
        start = index * rows_per_chunk
        values = np.full((min(rows_per_chunk, self.num_stored - start), *shape), np.nan, self.dtype)
        self._fetch(cut, index, values)
        return values

    def _as_stored(self, rows: np.ndarray) -> np.ndarray:
        if self._referred is None or self._referred.rows is None:
            return rows
        return self._referred.rows[rows]

    def _names(self, cuts: Sequence[str] | None) -> Sequence[str]:
        names = cuts or self.cuts
        if unknown := [name for name in names if name not in self.cuts]:
            raise CacheError(
                f"--use-cuts expects some of {', '.join(self.cuts)}, received {', '.join(unknown)}"
            )
        rank = 1 + (len(self.spec.views) > 1)
        if len(names) > 1 and any(len(self.shape(name)) != rank for name in names):
            raise CacheError(
                "cuts can be joined only where each is a vector; choose one of them with "
                "--use-cuts, or extract with --pooling avg"
            )
        return names

    def _bounds(self, cut: str, rows: np.ndarray) -> np.ndarray:
        """The positions in `rows` at which another chunk of the cut begins, and the last end."""
        chunks = rows // self.rows_per_chunk(cut)
        return np.append(np.flatnonzero(np.diff(chunks, prepend=-1)), len(rows))

    def _fill(self, rows: np.ndarray, columns: Sequence["_Column"], start: int, stop: int) -> None:
        """Fills the columns at some positions, all of them a few rows at a time.

        One column after the other would come to each line of memory as often as there are columns,
        and find it out of the processor's caches every time.
        """
        bounds = [_between(start, stop, column.bounds) for column in columns]
        pairs = zip(columns, bounds, strict=True)
        sources = [self._pieces(rows, column, of_column) for column, of_column in pairs]
        now = [next(source) for source in sources]
        for first, last in pairwise(sorted({*chain.from_iterable(bounds)})):
            for number, column in enumerate(columns):
                if now[number][1] == first:
                    now[number] = next(sources[number])
                begin, _, values = now[number]
                if values is not None:
                    column.target[first:last] = values[first - begin : last - begin]

    def _pieces(
        self, rows: np.ndarray, column: "_Column", bounds: Sequence[int]
    ) -> Iterator[tuple[int, int, np.ndarray | None]]:
        """Reads and checks a column, chunk by chunk.

        Yields:
            Between which positions it has rows of the chunk, and these, good until the next ones
            are asked for; None where they are in their place already.
        """
        cut, rows_per_chunk = column.cut, self.rows_per_chunk(column.cut)
        # One for all: fresh memory costs as much as reading what goes into it.
        scratch = np.empty((rows_per_chunk, *self.shape(cut)), self.dtype)
        for first, last in pairwise(bounds):
            wanted, place = rows[first:last], column.target[first:last]
            index = int(wanted[0]) // rows_per_chunk
            count = min(rows_per_chunk, self.num_stored - index * rows_per_chunk)
            if FEW * len(wanted) < count:
                yield first, last, self._few_rows(cut, wanted, scratch)
            elif len(wanted) == count and place.flags.c_contiguous:
                self._whole_chunk(cut, index, place)
                yield first, last, None
            else:
                self._whole_chunk(cut, index, scratch[:count])
                whole = len(wanted) == count
                yield first, last, scratch if whole else scratch[wanted - index * rows_per_chunk]

    def _whole_chunk(self, cut: str, index: int, values: np.ndarray) -> None:
        """Reads a chunk into `values` and checks it by its own checksum."""
        found = self._fetch(cut, index, values)
        if not found or crc32(values.data) != self.checksums(cut, "chunks")[index]:
            start = index * self.rows_per_chunk(cut)
            raise self._damaged(cut, start, start + len(values))

    def _few_rows(self, cut: str, wanted: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        """Reads some rows of a chunk and checks them by their own checksums."""
        first = int(wanted[0])
        span = scratch[: int(wanted[-1]) + 1 - first]
        index, skip = divmod(first, self.rows_per_chunk(cut))
        found = self._fetch(cut, index, span, skip)
        values = span[wanted - first]
        if not found or np.any(row_checksums(values) != self.checksums(cut, "rows")[wanted]):
            raise self._damaged(cut, first, first + len(span))
        return values

    def _damaged(self, cut: str, start: int, stop: int) -> CacheError:
        if self._referred and self._referred.rows is not None:
            start, stop = np.searchsorted(self._referred.rows, [start, stop]).tolist()
        return CacheError(
            f"{self.path}: rows {start} to {stop} of {cut!r} are damaged "
            "(checksum differs); mend them with `transfer cache verify --repair`"
        )

    def _fetch(self, cut: str, index: int, values: np.ndarray, skip: int = 0) -> bool:
        """Reads rows of a chunk, the first `skip` left out; False where they are not to be had.

        They are taken from the file at the place that HDF5 names: through HDF5, which reads in
        one thread and copies twice, it took twice as long.
        """
        try:
            found = self._place(cut, index, skip)
        except OSError:  # a part is gone
            return False
        if found is None:
            return self._fetch_through_hdf5(cut, index, values, skip)
        raw, offset = found
        view = values.data.cast("B")
        while len(view):
            count = self._read_at(raw, offset, view)
            if not count:
                return False
            offset, view = offset + count, view[count:]
        return True

    def _place(self, cut: str, index: int, skip: int) -> tuple[BinaryIO, int] | None:
        """The file that has a chunk, and the byte of a row there; None where HDF5 must read it."""
        if self._referred:
            return self._referred.place(cut, index * self.rows_per_chunk(cut) + skip)
        offset = self._offsets_of(cut).get(index)
        row_bytes = self.dtype.itemsize * math.prod(self.shape(cut))
        return None if offset is None else (self._raw, offset + skip * row_bytes)

    def _read_at(self, raw: BinaryIO, offset: int, view: memoryview) -> int:
        if hasattr(os, "preadv"):  # threads need not wait for each other
            return os.preadv(raw.fileno(), [view], offset)
        with self._raw_lock:
            raw.seek(offset)
            return raw.readinto(view)  # type: ignore[attr-defined]

    def _fetch_through_hdf5(self, cut: str, index: int, values: np.ndarray, skip: int) -> bool:
        start = index * self.rows_per_chunk(cut) + skip
        try:
            values[...] = self._file["features"][cut][start : start + len(values)]
        except (OSError, RuntimeError):
            return False
        return True

    def _offsets_of(self, cut: str) -> dict[int, int]:
        """Per chunk the byte at which it begins, where its bytes are the plain values."""
        if cut not in self._offsets:
            self._offsets[cut] = self._sound(
                "structure", lambda: _plain_chunks(self._file["features"][cut])
            )
        return self._offsets[cut]

    def table(self, name: str) -> np.ndarray:
        """A small dataset as it is stored.

        Raises:
            CacheError: If it is damaged.
        """
        return self._sound(name, lambda: self._file[name][...])

    def _texts(self, name: str) -> np.ndarray:
        return self._sound(name, lambda: hdf5.texts(self._file[name]))

    def _sound(self, what: str, read: Callable[[], _Result]) -> _Result:
        """Reads something, and says so where HDF5 finds it damaged."""
        try:
            return read()
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            if isinstance(error, CacheError):
                raise
            raise CacheError(
                f"{self.path}: {what} is damaged ({_line(error)}); "
                "mend it with `transfer cache verify --repair`"
            ) from None


def _tasks(columns: Sequence[_Column]) -> Iterator[tuple[int, int]]:
    """Positions between which one thread fills all columns, whole chunks of each.

    Some chunks at a time, for handing one over to a thread costs as much as reading it.
    """
    fewest = min((column.bounds for column in columns), key=len)
    starts = fewest[: -1 : max(1, CHUNKS_PER_TASK // len(columns))]
    return pairwise([*starts.tolist(), len(columns[0].target)])


def _between(start: int, stop: int, bounds: np.ndarray) -> list[int]:
    """The bounds from `start` to `stop`, which are among them."""
    first, last = np.searchsorted(bounds, [start, stop], side="right")
    return [start, *(bound for bound in bounds[first:last].tolist() if bound < stop), stop]


def _open_both(path: Path) -> tuple[h5py.File, BinaryIO]:
    """Opens one file twice, through HDF5 and plainly, also while another takes its name."""
    while True:
        raw = path.open("rb", buffering=0)
        try:
            file = hdf5.open_file(path)
        except BaseException:
            raw.close()
            raise
        if os.path.samestat(os.fstat(raw.fileno()), path.stat()):
            return file, raw
        file.close()
        raw.close()


def _plain_chunks(dataset: h5py.Dataset) -> dict[int, int]:
    offsets: dict[int, int] = {}
    if dataset.chunks and not hdf5.is_compressed(dataset):
        rows_per_chunk = dataset.chunks[0]

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            offsets[chunk.chunk_offset[0] // rows_per_chunk] = chunk.byte_offset

        dataset.id.chunk_iter(note)
    return offsets


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())

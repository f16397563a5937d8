"""How our HDF5 files are made and opened: the same bytes every time, checksummed, without locks.

- No times are recorded, so that two runs of one extraction write identical files.
- Metadata is of HDF5 1.10's format, which has checksums everywhere.
- HDF5's own file locks are off: not all network disks have them, and a file is renamed into
  place only when it is whole, so that no reader can meet a writer.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache.errors import CacheError


@contextmanager
def create(path: Path) -> Iterator[h5py.File]:
    """Creates a file, replacing what has its name.

    Raises:
        OSError: If the disk is full, or fails in another way.
    """
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    with path.open("w+b", buffering=0) as raw:
        disk = _Disk(raw)
        access.set_fileobj_driver(h5py.h5fd.fileobj_driver, disk)
        name = repr(disk).encode()
        opened = h5py.h5f.create(name, h5py.h5f.ACC_TRUNC, creation, access)
        access.close()  # left to the garbage collector it crashed the process at its end
        try:
            with h5py.File(opened) as file:
                yield file
        finally:
            if disk.error:
                raise OSError(disk.error.errno, disk.error.strerror, str(path))


class _Disk:
    """What HDF5 writes to: a file that, once the disk has failed, only seems to be written.

    HDF5 1.14 crashes the process when a file cannot be flushed as it is closed; so it is not told,
    and the error is raised when it is done.

    Attributes:
        error: The first failure, if there was one.
    """

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self.seek, self.tell, self.readinto = file.seek, file.tell, file.readinto
        self.error: OSError | None = None

    def write(self, values: memoryview) -> int:
        view = memoryview(values)
        try:
            while len(view) and not self.error:
                view = view[self._file.write(view) :]
        except OSError as error:
            self.error = error.with_traceback(None)  # which would keep the whole file in memory
        return len(values)

    def truncate(self, size: int | None = None) -> None:
        try:
            self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error.with_traceback(None)

    def flush(self) -> None:
        """Nothing is buffered."""


def open_file(path: Path) -> h5py.File:
    """Opens a file for reading.

    Raises:
        OSError: If there is none, or it is no HDF5 file.
    """
    return h5py.File(path, "r", locking=False)


def add_group(parent: h5py.Group, name: str) -> h5py.Group:
    """Adds an empty group."""
    creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    return h5py.Group(h5py.h5g.create(parent.id, name.encode(), gcpl=creation))


def add_table(parent: h5py.Group, name: str, values: np.ndarray) -> None:
    """Adds a checksummed dataset."""
    _add_table(parent, name, values.shape, values.dtype)[...] = values


def add_texts(parent: h5py.Group, name: str, texts: Sequence[str] | np.ndarray) -> None:
    """Adds a checksummed dataset of strings.

    Their length is fixed, at the longest: strings of variable length lie in a heap that HDF5
    gives no checksum.
    """
    length = max((len(text.encode()) for text in texts), default=1)
    dtype = h5py.string_dtype("utf-8", max(1, length))
    table = _add_table(parent, name, (len(texts),), dtype)
    for block in _blocks(table):  # there may be millions
        table[block] = np.array([text.encode() for text in texts[block]], dtype)


def virtual_layout(shape: tuple[int, ...], dtype: np.dtype) -> h5py.VirtualLayout:
    """The layout of a virtual dataset, to be filled with its sources."""
    layout = h5py.VirtualLayout(shape, dtype)
    layout.dcpl.set_obj_track_times(False)
    return layout


def compression(kind: str) -> dict[str, Any]:
    """Arguments of `create_dataset` that compress.

    Measured on real features: Zstandard 1 behind a shuffle of bytes leaves 70 to 72 % of them, the
    least of nine ways at a speed that no extraction notices.

    Args:
        kind: `"none"` or `"zstd"`.

    Raises:
        CacheError: If the plug-in is not installed.
    """
    return {} if kind == "none" else dict(_plugin().Zstd(clevel=1)) | {"shuffle": True}


def is_compressed(dataset: h5py.Dataset) -> bool:
    """Whether a dataset's chunks are anything but its plain values and a checksum.

    Raises:
        CacheError: If a plug-in is needed to read it and not installed.
    """
    filters = dataset.id.get_create_plist()
    kinds = {filters.get_filter(number)[0] for number in range(filters.get_nfilters())}
    if any(kind >= h5py.h5z.FILTER_RESERVED for kind in kinds):
        _plugin()
    return not kinds <= {h5py.h5z.FILTER_FLETCHER32}


def _plugin() -> Any:
    try:
        import hdf5plugin
    except ImportError:
        raise CacheError(
            "compressed features need the package hdf5plugin, which is not installed; "
            "install it (pip install hdf5plugin)"
        ) from None
    return hdf5plugin


def texts(dataset: h5py.Dataset) -> np.ndarray:
    """Reads what `add_texts` wrote, as `(rows,)` str objects."""
    found = np.empty(len(dataset), object)
    for block in _blocks(dataset):
        found[block] = [text.decode() for text in dataset[block].tolist()]
    return found


def encoded_texts(dataset: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Reads what `add_texts` wrote without an object for each: there may be millions.

    Returns:
        All of them in UTF-8 one behind the other, `(bytes,)` uint8, and `(rows + 1,)` int64: the
        byte at which each begins, and the end of the last.
    """
    lengths, pieces = [np.zeros(1, np.int64)], [np.empty(0, np.uint8)]
    for block in _blocks(dataset):
        padded = dataset[block]
        letters = padded.view(np.uint8).reshape(len(padded), padded.dtype.itemsize)
        is_text = letters != 0
        lengths.append(is_text.sum(1))
        pieces.append(letters[is_text])
    return np.concatenate(pieces), np.cumsum(np.concatenate(lengths))


def _add_table(
    parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> h5py.Dataset:
    num_bytes = dtype.itemsize * math.prod(shape)
    if not num_bytes:  # HDF5 has no empty chunks
        return parent.create_dataset(name, shape, dtype)
    rows = max(1, min(shape[0], 2**18 * shape[0] // num_bytes))
    return parent.create_dataset(name, shape, dtype, chunks=(rows, *shape[1:]), fletcher32=True)


def _blocks(dataset: h5py.Dataset) -> Iterator[slice]:
    """Rows that are written or read together, whole chunks."""
    step = dataset.chunks[0] if dataset.chunks else max(1, len(dataset))
    return (slice(start, start + step) for start in range(0, len(dataset), step))

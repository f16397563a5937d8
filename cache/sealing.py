"""How features of parts get into a sealed file: copied, or referred to where they are."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache import hdf5
from cache.checksums import ChunkChecksums, digest
from cache.parts import CHECKSUMS, PARTS, Part

REFERRED = "rows"
"""Folder, beside a sealed file, of the parts that it refers to."""
REFERENCE = "reference"
"""Group of a sealed file that refers to parts: at which bytes of them features are."""


def copy_features(
    file: h5py.File,
    parts: Sequence[Part],
    is_kept: np.ndarray,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    steps: Mapping[str, int],
    compression: Mapping[str, Any],
) -> None:
    """Writes the features of all parts, one part at a time in memory, with their checksums.

    Args:
        file: To write to.
        parts: In row order.
        is_kept: `(rows,)` bool.
        shapes: Per cut of one row.
        dtype: Of the features.
        steps: Per cut how many rows are checked together.
        compression: From `hdf5.compression`.
    """
    features = hdf5.add_group(file, "features")
    num_kept = np.concatenate([[0], np.cumsum(is_kept)])
    hdf5.add_table(file, "parts", num_kept[_bounds(parts)])
    num_rows = int(num_kept[-1])
    for name, shape in shapes.items():
        step = steps[name]
        dataset = features.create_dataset(
            name,
            (num_rows, *shape),
            dtype,
            chunks=(min(step, num_rows), *shape) if num_rows else None,
            **({**compression, "fletcher32": True} if num_rows else {}),
        )
        rows, chunks, of_parts = [], ChunkChecksums(step), []
        position = 0
        for part in parts:
            keep = is_kept[part.start : part.stop]
            values, stored = part.read(name)
            sha256, of_rows = stored.digests[0], stored.row_checksums[0][keep]
            if not keep.all():
                values = values[keep]
                sha256 = digest(values)
            dataset[position : position + len(values)] = values
            position += len(values)
            rows.append(of_rows)
            chunks.add(values)
            of_parts.append(sha256)
        _add_checksums(file, name, np.concatenate(rows), chunks.finish(), of_parts)


def refer_to_features(
    file: h5py.File,
    parts: Sequence[Part],
    is_kept: np.ndarray,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    steps: Mapping[str, int],
) -> None:
    """Writes where in the parts the features are, with checksums that are there; reads no features.

    Rows have the numbers that they have in the parts, also in checksums, so that a chunk never
    lies in two of them: those that are not kept are left out by `reference/skipped_rows`. Other
    programs see the rows that are kept, as an HDF5 virtual dataset.

    Args:
        file: To write to.
        parts: In row order; they will be in the folder `REFERRED` beside the file.
        is_kept: `(rows,)` bool.
        shapes: Per cut of one row.
        dtype: Of the features.
        steps: Per cut how many rows are checked together.
    """
    bounds = _bounds(parts)
    hdf5.add_table(file, "parts", bounds)
    about = [part.stored(list(shapes)) for part in parts]
    group = hdf5.add_group(file, REFERENCE)
    hdf5.add_table(group, "offsets", np.array([each.offsets for each in about], np.int64))
    hdf5.add_table(group, "skipped_rows", np.flatnonzero(~is_kept))
    hdf5.add_table(group, "rows_per_chunk", np.array([steps[name] for name in shapes]))
    features = hdf5.add_group(file, "features")
    runs = [_runs(is_kept[part.start : part.stop]) for part in parts]
    num_rows = int(is_kept.sum())
    for number, (name, shape) in enumerate(shapes.items()):
        layout = hdf5.virtual_layout((num_rows, *shape), dtype)
        position = 0
        for part, of_part in zip(parts, runs, strict=True):
            source = h5py.VirtualSource(
                f"{REFERRED}/{part.path.name}", name, (part.stop - part.start, *shape), dtype
            )
            for start, stop in of_part:
                layout[position : position + stop - start] = source[start:stop]
                position += stop - start
        features.create_virtual_dataset(name, layout, fillvalue=np.nan)
        _add_checksums(
            file,
            name,
            np.concatenate([each.row_checksums[number] for each in about]),
            np.concatenate([each.chunk_checksums[number] for each in about]),
            [each.digests[number] for each in about],
        )


def refer_to_parts(path: Path) -> None:
    """Gives the parts of a file that is sealed by reference the place where it looks for them.

    Until then the entry is not whole: a killed run leaves that to the next one.
    """
    shutil.rmtree(path.parent / REFERRED, ignore_errors=True)  # of a file that was given up
    (path.parent / PARTS).rename(path.parent / REFERRED)


def finish_sealing(path: Path) -> None:
    """Does what a run was killed in front of: `refer_to_parts`, where a sealed file needs it."""
    folder = path.parent
    if (folder / REFERRED).exists() or not (folder / PARTS).exists():
        return
    with suppress(OSError, RuntimeError), hdf5.open_file(path) as file:
        if REFERENCE in file:
            refer_to_parts(path)


def unseal(path: Path) -> None:
    """Makes parts that a sealed file refers to unfinished again, and removes the file."""
    if (path.parent / REFERRED).exists() and not (path.parent / PARTS).exists():
        (path.parent / REFERRED).rename(path.parent / PARTS)
        path.unlink(missing_ok=True)


def _add_checksums(
    file: h5py.File, name: str, rows: np.ndarray, chunks: np.ndarray, parts: Sequence[str]
) -> None:
    every = file[CHECKSUMS] if CHECKSUMS in file else hdf5.add_group(file, CHECKSUMS)
    group = hdf5.add_group(every, name)
    hdf5.add_table(group, "rows", rows)
    hdf5.add_table(group, "chunks", chunks)
    of_parts = [np.frombuffer(bytes.fromhex(sha256), np.uint8) for sha256 in parts]
    hdf5.add_table(group, "parts", np.stack(of_parts))


def _bounds(parts: Sequence[Part]) -> np.ndarray:
    return np.array([parts[0].start, *(part.stop for part in parts)])


def _runs(is_kept: np.ndarray) -> list[tuple[int, int]]:
    """Where each run of rows that are kept begins, and where it has ended."""
    edges = np.flatnonzero(np.diff(is_kept.astype(np.int8), prepend=0, append=0)).tolist()
    return list(pairwise(edges))[::2]

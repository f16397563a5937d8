"""Writes features part by part, resumes, and seals the parts into one file."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache import hdf5
from cache.donors import Donation
from cache.durable import whole_file
from cache.errors import CacheError
from cache.parts import PARTS, Part, part_name, rows_per_chunk, rows_per_part
from cache.reader import entry_path
from cache.sealing import copy_features, refer_to_features, refer_to_parts, unseal
from cache.spec import FeatureSpec


class FeatureWriter:
    """One entry of the store while it is being made; use it in a `with` block.

    Args:
        root: Folder of the store.
        spec: What the features are made from.
        ids: One per row, in row order, those of bad images included; what is neither list nor tuple
            is indexed by numpy's rules.
        datasets: Name of each dataset (a cut) and the shape of one row of it.
        donation: What is taken from other entries; by default nothing.
        compression: `"none"` or `"zstd"`; changes bytes on disk, no value.
        by_reference: Whether the sealed file refers to the parts, which stay, in place of a copy.
        starts: First rows of the parts that are written here, where others write the rest; by
            default all.
        image_digests: `(rows, 32)` uint8, the sha256 of each image, by which parts can give rows to
            other entries before this one is sealed.
    """

    def __init__(
        self,
        root: Path,
        spec: FeatureSpec,
        ids: Sequence[str] | np.ndarray,
        datasets: Mapping[str, tuple[int, ...]],
        donation: Donation | None = None,
        compression: str = "none",
        by_reference: bool = False,
        starts: Collection[int] | None = None,
        image_digests: np.ndarray | None = None,
    ) -> None:
        self.spec = spec
        self.path = entry_path(root, spec.key)
        # Others stay what they are: millions may be in something smaller than objects.
        self.ids: Any = np.array(ids, object) if isinstance(ids, list | tuple) else ids
        self.datasets = dict(datasets)
        self._donation = donation or Donation.none(len(ids), tuple(datasets))
        self._compression = hdf5.compression(compression)
        self.by_reference = by_reference
        self._dtype = np.dtype(spec.dtype)
        self._starts = starts
        unknown = np.zeros((len(ids), 32), np.uint8)
        self._image_digests = unknown if image_digests is None else image_digests
        self._folder = self.path.parent / PARTS
        if not self.path.exists():
            unseal(self.path)  # somebody removed it, and not the parts that it referred to
        # Made here and never again: a faster run removes it when it has sealed the same parts.
        self._folder.mkdir(parents=True, exist_ok=True)
        self.values_per_row = sum(int(np.prod(shape)) for shape in datasets.values())
        self.row_bytes = self._dtype.itemsize * self.values_per_row
        self.rows_per_part = rows_per_part(self.row_bytes)
        self._open: Part | None = None
        self._buffer: dict[str, np.ndarray] = {}
        self._bad = dict(self._donation.bad)
        self._written = 0
        self._behind = ThreadPoolExecutor(1, "parts")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        """Lets the part that is being written reach the disk, while the entry is still locked."""
        self._behind.shutdown()

    @property
    def num_bytes(self) -> int:
        """Bytes of all features."""
        return self.row_bytes * len(self.ids)

    @property
    def parts(self) -> list[Part]:
        """All parts, written or not, in row order."""
        return [self._part(start) for start in range(0, len(self.ids), self.rows_per_part)]

    @cached_property
    def missing(self) -> list[Part]:
        """The parts that were still to be written, or were damaged, when this was first asked."""
        ours = self.parts if self._starts is None else map(self._part, sorted(self._starts))
        return [part for part in ours if not part.is_sound(self.spec.key, self.datasets)]

    @property
    def num_missing(self) -> int:
        """Rows of the missing parts."""
        return sum(part.stop - part.start for part in self.missing)

    @cached_property
    def rows_to_run(self) -> np.ndarray:
        """Increasing numbers of the rows of missing parts that no other entry can give."""
        missing = np.concatenate(
            [np.arange(0), *(np.arange(part.start, part.stop) for part in self.missing)]
        )
        return missing[self._donation.must_run[missing]]

    def write(
        self,
        rows: np.ndarray,
        features: Mapping[str, np.ndarray],
        bad: Mapping[int, str] | None = None,
    ) -> None:
        """Takes the features of one batch; each part goes to disk when its last row has come.

        Args:
            rows: `(batch,)` row numbers, the next ones of `rows_to_run`.
            features: For each dataset that is not donated whole `(batch, ...)`, finite, of any
                float dtype.
            bad: Row numbers whose image could not be read, with the reason; their features are
                stored as zeros and left out when the file is sealed.

        Raises:
            ValueError: If names or shapes are not those announced, or rows are not the next.
            CacheError: If a value is NaN, infinite or too large to be stored.
        """
        bad = bad or {}
        self._check(rows, features, ~np.isin(rows, list(bad)))
        self._bad.update(bad)
        for start in np.unique(rows - rows % self.rows_per_part).tolist():
            part = self._open or self._begin(self._part(start))
            inside = (rows >= part.start) & (rows < part.stop)
            for name in self._donation.cuts_to_run:
                self._buffer[name][rows[inside] - part.start] = features[name][inside]
                self._buffer[name][[row - part.start for row in rows[inside] if row in bad]] = 0
            self._written += int(inside.sum())
            after = self.rows_to_run[self._written : self._written + 1]
            if not len(after) or after[0] >= part.stop:
                self._finish(part)

    def wait(self) -> None:
        """Waits until every part that is complete is on disk; raises what went wrong with one."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def seal(
        self,
        *,
        labels: np.ndarray,
        given_split: Sequence[str] | np.ndarray,
        class_names: Sequence[str],
        image_digests: np.ndarray,
    ) -> Path:
        """Joins the parts into `features.h5` and removes them, or has it refer to them.

        Rows of bad images are left out here, and listed in the file. Two runs of one spec seal
        the same bytes.

        Args:
            labels: `(rows,)` integers.
            given_split: `"train"`, `"val"` or `"test"` per row, before any is carved out.
            class_names: One per class.
            image_digests: `(rows, 32)` uint8, the sha256 of each image.

        Returns:
            The path of the sealed file.

        Raises:
            CacheError: If a part is damaged, or there is no room on the disk.
            FileNotFoundError: If a part is gone.
            ValueError: If lengths differ.
        """
        lengths = (len(labels), len(given_split), len(image_digests))
        if set(lengths) != {len(self.ids)}:
            raise ValueError(f"expected {len(self.ids)} labels and more, received {lengths}")
        self._write_donated_parts()
        bad: dict[int, str] = {}
        for part in self.parts:
            bad.update(part.bad())
        is_kept = np.ones(len(self.ids), bool)
        is_kept[list(bad)] = False
        # All of them without a copy of each table: there may be millions.
        good = np.flatnonzero(is_kept) if bad else slice(None)
        with whole_file(self.path) as temporary, hdf5.create(temporary) as file:
            file.attrs.update(
                key=self.spec.key,
                spec=self.spec.to_json(),
                # HDF5 lists members by name; the order of the layers is kept here.
                cuts=json.dumps(list(self.datasets)),
            )
            hdf5.add_table(file, "labels", np.asarray(labels, dtype=np.int64)[good])
            hdf5.add_texts(file, "given_split", np.asarray(given_split)[good])
            hdf5.add_texts(file, "class_names", class_names)
            hdf5.add_table(file, "image_digests", image_digests[good])
            self._write_ids(file, good, bad)
            if self.by_reference:
                refer_to_features(file, self.parts, is_kept, *self._kinds)
            else:
                copy_features(file, self.parts, is_kept, *self._kinds, self._compression)
        if self.by_reference:
            refer_to_parts(self.path)
        else:
            self.remove_parts()
        return self.path

    @property
    def _kinds(self) -> tuple[dict[str, tuple[int, ...]], np.dtype, dict[str, int]]:
        """Shapes, dtype, and how many rows of each dataset are checked together."""
        size = self._dtype.itemsize
        steps = {
            name: rows_per_chunk(self.rows_per_part, size * int(np.prod(shape)))
            for name, shape in self.datasets.items()
        }
        return self.datasets, self._dtype, steps

    def remove_parts(self) -> None:
        """Removes the parts, which are sealed, or not made from what the spec says."""
        self.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_ids(self, file: h5py.File, good: np.ndarray | slice, bad: Mapping[int, str]) -> None:
        hdf5.add_texts(file, "ids", self.ids[good])
        hdf5.add_texts(file, "skipped_ids", [self.ids[row] for row in sorted(bad)])
        hdf5.add_texts(file, "skipped_reasons", [bad[row] for row in sorted(bad)])

    def _check(
        self, rows: np.ndarray, features: Mapping[str, np.ndarray], good: np.ndarray
    ) -> None:
        expected_rows = self.rows_to_run[self._written : self._written + len(rows)]
        if not np.array_equal(rows, expected_rows):
            raise ValueError(f"expected rows {expected_rows} next, received rows {rows}")
        for name in self._donation.cuts_to_run:
            received = features[name].shape if name in features else None
            expected = (len(rows), *self.datasets[name])
            if received != expected:
                raise ValueError(f"features of {name!r}: expected {expected}, received {received}")
            values = features[name]
            with np.errstate(over="ignore"):
                stored = values.astype(self._dtype, copy=False)
            finite = np.isfinite(stored).reshape(len(rows), -1).all(1) | ~good
            if not finite.all():
                raise self._not_storable(name, int(np.argmin(finite)), rows, values)

    def _not_storable(
        self, name: str, index: int, rows: np.ndarray, values: np.ndarray
    ) -> CacheError:
        image = self.ids[rows[index]]
        largest = np.abs(values[index]).max()
        if np.isfinite(largest):
            limit = np.finfo(self._dtype).max
            return CacheError(
                f"features of {name!r} of image {image!r} reach {largest:g}, {self._dtype} holds "
                f"at most {limit:g}; store them with --storage float32"
            )
        return CacheError(
            f"features of {name!r} of image {image!r} are not finite; "
            "check the weights and that image"
        )

    def _part(self, start: int) -> Part:
        stop = min(start + self.rows_per_part, len(self.ids))
        return Part(self._folder / part_name(start), start, stop)

    def _begin(self, part: Part) -> Part:
        self._open = part
        self._buffer = {
            name: np.zeros((part.stop - part.start, *shape), self._dtype)
            for name, shape in self.datasets.items()
        }
        return part

    def _finish(self, part: Part) -> None:
        self._donation.fill(part.start, self._buffer)
        bad = {row: why for row, why in self._bad.items() if part.start <= row < part.stop}
        self.wait()
        # Hashing and syncing go on while the backbone runs; one part at a time, for memory's sake.
        digests = self._image_digests[part.start : part.stop]
        self._writing = self._behind.submit(part.write, self.spec, self._buffer, bad, digests)
        self._open = None
        self._buffer = {}

    def _write_donated_parts(self) -> None:
        if self._written < len(self.rows_to_run):
            left = self.rows_to_run[self._written :]
            raise CacheError(
                f"cannot seal {self.path}: {len(left):,} rows are not written yet, "
                f"the first of them is {left[0]}"
            )
        with_rows = set((self.rows_to_run - self.rows_to_run % self.rows_per_part).tolist())
        for part in self.missing:
            if part.start not in with_rows:
                self._finish(self._begin(part))
        self.wait()

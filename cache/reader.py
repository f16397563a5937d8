"""Opens a sealed feature file and reads from it."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from cache.errors import CacheError
from cache.spec import FeatureSpec

BLOCK_BYTES = 2**24


def entry_path(root: Path, key: str) -> Path:
    """Where the sealed file of a key lies, whether it exists or not."""
    return Path(root) / key[:16] / "features.h5"


class FeatureFile:
    """A sealed feature file, open for reading; use it in a `with` block.

    Args:
        path: A `features.h5`.
        key: If given, the key that the file must have.

    Raises:
        CacheError: If the file is missing, damaged, incomplete, or has another key.
    """

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r")
        except FileNotFoundError:
            raise CacheError(f"no feature file at {self.path}; run `transfer features`") from None
        except OSError as error:
            raise CacheError(
                f"{self.path} is no readable HDF5 file ({error}); "
                "delete it and run `transfer features` again"
            ) from None
        try:
            self._check_structure(key)
        except BaseException:
            self._file.close()
            raise

    def _check_structure(self, key: str | None) -> None:
        found = self._file.attrs.get("key")
        members = {"features", "labels", "ids", "split", "class_names"}
        if found is None or not members <= set(self._file):
            raise CacheError(f"{self.path} is an HDF5 file, but not a sealed feature file")
        self.key: str = found
        self.spec = FeatureSpec.from_json(self._file.attrs["spec"])
        if self.spec.key != self.key or key not in (None, self.key):
            expected = self.spec.key if key is None else key
            raise CacheError(f"{self.path}: expected key {expected}, received {self.key}")
        lengths = {len(dataset) for dataset in self._file["features"].values()}
        if lengths != {len(self._file["labels"])}:
            raise CacheError(f"{self.path}: its datasets differ in length; extract it again")

    def __enter__(self) -> "FeatureFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._file["labels"])

    def close(self) -> None:
        """Closes the file; what was read stays valid."""
        self._file.close()

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """Names of the feature datasets, in the order of the backbone's layers."""
        return tuple(json.loads(self._file["features"].attrs["cuts"]))

    @cached_property
    def notes(self) -> dict:
        """Facts about the run that made the file."""
        return json.loads(self._file.attrs["notes"])

    @cached_property
    def labels(self) -> np.ndarray:
        """`(rows,)` int64."""
        return self._file["labels"][...]

    @cached_property
    def ids(self) -> np.ndarray:
        """`(rows,)` str objects."""
        return self._file["ids"].asstr()[...]

    @cached_property
    def split(self) -> np.ndarray:
        """`(rows,)` of `"train"`, `"val"` and `"test"`."""
        return self._file["split"].asstr()[...].astype("U5")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return tuple(self._file["class_names"].asstr()[...])

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Ids and reasons of images that were set aside."""
        return [(id, reason) for id, reason in self._file["skipped"].asstr()[...]]

    def shape(self, cut: str) -> tuple[int, ...]:
        """Shape of one row of a cut."""
        return self._file["features"][cut].shape[1:]

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, increasing."""
        return np.flatnonzero(self.split == split)

    def read(self, rows: np.ndarray, cuts: Sequence[str] | None = None) -> np.ndarray:
        """The features of some rows, all chosen cuts joined along the last axis.

        Args:
            rows: Row numbers, strictly increasing.
            cuts: Names of cuts, or None for all; several must all be vectors.

        Returns:
            `(len(rows), ...)` in the file's dtype: one array, filled block by block, so that
            memory stays at the result plus one block.

        Raises:
            CacheError: If a cut is unknown, cuts cannot be joined, or a checksum is wrong.
        """
        names = self._names(cuts)
        shapes = [self.shape(name) for name in names]
        shape = shapes[0] if len(names) == 1 else (sum(width for (width,) in shapes),)
        result = np.empty((len(rows), *shape), self._file["features"][names[0]].dtype)
        column = 0
        for name, (*_, width) in zip(names, shapes, strict=True):
            for wanted, block in self._blocks(name, rows):
                result[wanted, ..., column : column + width] = block
            column += width
        return result

    def _names(self, cuts: Sequence[str] | None) -> Sequence[str]:
        names = cuts or self.cuts
        if unknown := [name for name in names if name not in self.cuts]:
            raise CacheError(f"expected cuts among {list(self.cuts)}, received {unknown}")
        if len(names) > 1 and any(len(self.shape(name)) != 1 for name in names):
            raise CacheError(
                "cuts can be joined only where each is a vector; choose one of them with "
                "--use-cuts, or extract with --pooling avg"
            )
        return names

    def _blocks(self, name: str, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        # Blocks are read whole and picked from in memory: HDF5 is slow at fancy indices.
        dataset = self._file["features"][name]
        chunk = dataset.chunks[0] if dataset.chunks else len(dataset)
        row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
        step = max(1, BLOCK_BYTES // (row_bytes * chunk)) * chunk
        for start in range(0, len(dataset), step):
            first, last = np.searchsorted(rows, [start, start + step])
            if first == last:
                continue
            try:
                block = dataset[start : start + step]
            except OSError as error:
                raise CacheError(
                    f"{self.path}: rows {start} to {min(start + step, len(dataset))} of {name!r} "
                    f"are damaged ({error}); delete the file and extract again"
                ) from None
            picked = rows[first:last] - start
            yield slice(first, last), block if len(picked) == len(block) else block[picked]

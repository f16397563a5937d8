"""Writes features part by part, resumes, and seals the parts into one file."""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from cache.durable import whole_file
from cache.errors import CacheError
from cache.parts import Part, rows_per_part
from cache.reader import entry_path
from cache.spec import FeatureSpec

CHUNK_BYTES = 2**18


class FeatureWriter:
    """One entry of the store while it is being made.

    Args:
        root: Folder of the store.
        spec: What the features are made from.
        num_rows: Rows in all, those of bad images included.
        datasets: Name of each dataset (a cut) and the shape of one row of it.
    """

    def __init__(
        self,
        root: Path,
        spec: FeatureSpec,
        num_rows: int,
        datasets: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.spec = spec
        self.path = entry_path(root, spec.key)
        self.num_rows = num_rows
        self.datasets = dict(datasets)
        self._dtype = np.dtype(spec.dtype)
        self._folder = self.path.parent / "parts"
        self._folder.mkdir(parents=True, exist_ok=True)
        values_per_row = sum(int(np.prod(shape)) for shape in datasets.values())
        self.rows_per_part = rows_per_part(values_per_row * self._dtype.itemsize)
        self._open: Part | None = None
        self._buffer: dict[str, np.ndarray] = {}
        self._filled = 0
        self._bad: dict[int, str] = {}

    @property
    def parts(self) -> list[Part]:
        """All parts, written or not, in row order."""
        step = self.rows_per_part
        return [
            Part(
                self._folder / f"{start:010d}.h5",
                start,
                min(start + step, self.num_rows),
            )
            for start in range(0, self.num_rows, step)
        ]

    def missing(self) -> list[slice]:
        """Runs of rows that are still to be written, each starting and ending with a part."""
        runs: list[slice] = []
        for part in self.parts:
            if part.is_complete(self.spec.key):
                continue
            if runs and runs[-1].stop == part.start:
                runs[-1] = slice(runs[-1].start, part.stop)
            else:
                runs.append(slice(part.start, part.stop))
        return runs

    def write(
        self, rows: slice, features: Mapping[str, np.ndarray], bad: Mapping[int, str] | None = None
    ) -> None:
        """Takes the features of one batch; each part goes to disk when its last row has come.

        Args:
            rows: Half-open range of row numbers; ranges must follow one another within a run.
            features: Per dataset `(batch, ...)`, finite, of any float dtype.
            bad: Row numbers whose image could not be read, with the reason; their features are
                stored as zeros and left out when the file is sealed.

        Raises:
            ValueError: If names or shapes are not those announced, or rows leave a gap.
            CacheError: If a value is NaN or infinite.
        """
        self._check(rows, features)
        self._bad.update(bad or {})
        position = rows.start
        while position < rows.stop:
            part = self._part_of(position)
            stop = min(rows.stop, part.stop)
            source = slice(position - rows.start, stop - rows.start)
            target = slice(position - part.start, stop - part.start)
            for name, values in features.items():
                self._buffer[name][target] = values[source]
            self._filled = stop
            if stop == part.stop:
                self._finish(part)
            position = stop

    def seal(
        self,
        *,
        ids: Sequence[str],
        labels: np.ndarray,
        split: Sequence[str],
        class_names: Sequence[str],
        notes: Mapping[str, object],
    ) -> Path:
        """Joins the parts into `features.h5` and removes them.

        Rows of bad images are left out here, and listed under `/skipped` in the file.

        Args:
            ids: One per row, in row order.
            labels: `(rows,)` integers.
            split: `"train"`, `"val"` or `"test"` per row.
            class_names: One per class.
            notes: Facts about the run that do not belong to the key (versions, engine, seconds).

        Returns:
            The path of the sealed file.

        Raises:
            CacheError: If a part is missing or damaged.
            ValueError: If lengths differ.
        """
        lengths = (len(ids), len(labels), len(split))
        if set(lengths) != {self.num_rows}:
            raise ValueError(f"expected {self.num_rows} ids, labels and splits, received {lengths}")
        if missing := self.missing():
            raise CacheError(f"cannot seal {self.path}: rows {missing} are not written yet")
        bad: dict[int, str] = {}
        for part in self.parts:
            bad.update(part.bad())
        good = np.setdiff1d(np.arange(self.num_rows), np.array(sorted(bad), dtype=np.int64))
        with whole_file(self.path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(
                key=self.spec.key,
                spec=self.spec.to_json(),
                notes=json.dumps(dict(notes), sort_keys=True),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            self._copy_features(file.create_group("features"), bad, len(good))
            file["labels"] = np.asarray(labels, dtype=np.int64)[good]
            text = h5py.string_dtype()
            file.create_dataset("ids", data=[ids[row] for row in good], dtype=text)
            file.create_dataset("split", data=[split[row] for row in good], dtype=text)
            file.create_dataset("class_names", data=list(class_names), dtype=text)
            skipped = [[ids[row], reason] for row, reason in sorted(bad.items())]
            file.create_dataset(
                "skipped", data=np.array(skipped, object).reshape(-1, 2), dtype=text
            )
        shutil.rmtree(self._folder)
        return self.path

    def _copy_features(self, group: h5py.Group, bad: dict[int, str], num_good: int) -> None:
        # HDF5 lists members by name; the order of the layers has to be kept beside them.
        group.attrs["cuts"] = json.dumps(list(self.datasets))
        for name, shape in self.datasets.items():
            row_bytes = max(1, int(np.prod(shape)) * self._dtype.itemsize)
            # One-row chunks make reading ruinous, whole-file chunks make it wasteful.
            rows = max(1, min(num_good, CHUNK_BYTES // row_bytes))
            dataset = group.create_dataset(
                name, (num_good, *shape), self._dtype, chunks=(rows, *shape), fletcher32=True
            )
            position = 0
            for part in self.parts:
                values = part.read(name)
                keep = [row not in bad for row in range(part.start, part.stop)]
                if not all(keep):
                    values = values[np.array(keep)]
                dataset[position : position + len(values)] = values
                position += len(values)

    def _check(self, rows: slice, features: Mapping[str, np.ndarray]) -> None:
        for name, shape in self.datasets.items():
            received = features[name].shape if name in features else None
            expected = (rows.stop - rows.start, *shape)
            if received != expected:
                raise ValueError(f"features of {name!r}: expected {expected}, received {received}")
            finite = np.isfinite(features[name].astype(self._dtype, copy=False))
            if not finite.all():
                row = rows.start + int(np.flatnonzero(~finite.reshape(len(finite), -1).all(1))[0])
                raise CacheError(
                    f"features of {name!r} in row {row} are not finite in {self._dtype}; "
                    "check the weights and the image in that row"
                )

    def _part_of(self, row: int) -> Part:
        if self._open is None:
            start = row - row % self.rows_per_part
            stop = min(start + self.rows_per_part, self.num_rows)
            self._open = Part(self._folder / f"{start:010d}.h5", start, stop)
            self._buffer = {
                name: np.empty((stop - start, *shape), self._dtype)
                for name, shape in self.datasets.items()
            }
            self._filled = start
        if row != self._filled:
            raise ValueError(f"expected row {self._filled} next, received row {row}")
        return self._open

    def _finish(self, part: Part) -> None:
        bad = {row: why for row, why in self._bad.items() if part.start <= row < part.stop}
        part.write(self.spec.key, self._buffer, bad)
        self._open = None
        self._buffer = {}

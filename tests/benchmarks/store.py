"""The feature store against plain files that hold the same bytes, all in the page cache."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np

from cache import FeatureFile, FeatureWriter, verify
from tests.benchmarks.timing import compare
from tests.cache.test_spec import SPEC

BLOCKS = (32, 96, 144, 144, 240, 240, 480, 480, 480, 672, 672, 672, 1152, 1152, 1152, 1152, 1280)
"""Widths of EfficientNetLite0 cut at all blocks."""
BATCH = 64


def store() -> list[dict]:
    """Reading, writing, checking and opening."""
    with _filled(60_000, (1280,)) as (sealed, plain), FeatureFile(sealed) as features:
        results = [_read_all(features, plain), _read_tenth(features, plain)]
        results += [_verify(features, plain), _write(features, plain)]
    with _filled(7_500, BLOCKS) as (sealed, plain), FeatureFile(sealed) as features:
        results += [_read_all(features, plain), _write(features, plain)]
    with _filled(60_000, (4,) * len(BLOCKS)) as (sealed, _):
        return [*results, _open(sealed)]


def _read_all(features: FeatureFile, plain: Path) -> dict:
    rows = np.arange(len(features))
    return compare(
        f"read {_size(features)}: numpy.fromfile / FeatureFile.read",
        lambda: np.fromfile(plain, np.float32),
        lambda: features.read(rows),
        plain.stat().st_size,
        goal=0.8,
    )


def _read_tenth(features: FeatureFile, plain: Path) -> dict:
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(features), len(features) // 10, replace=False))
    width = features.joined_shape()[0]
    return compare(
        f"read a random tenth of {_size(features)}: numpy.fromfile and pick / FeatureFile.read",
        lambda: np.fromfile(plain, np.float32).reshape(-1, width)[rows],
        lambda: features.read(rows),
    )


def _verify(features: FeatureFile, plain: Path) -> dict:
    def sha256() -> None:
        with plain.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    return compare(
        f"verify {_size(features)}: sha256 of a plain file / cache.verify",
        sha256,
        lambda: verify(features),
        plain.stat().st_size,
    )


def _write(features: FeatureFile, plain: Path) -> dict:
    """A third of the rows; each goes to disk twice, so half of plain speed is the most."""
    values, copy = features.read(np.arange(len(features) // 3)), plain.with_name("copy")
    widths = tuple(features.shape(cut)[0] for cut in features.cuts)

    def tofile() -> None:
        with copy.open("wb") as file:
            values.tofile(file)
            os.fsync(file.fileno())

    return compare(
        f"write a third of {_size(features)}: ndarray.tofile and fsync / FeatureWriter",
        tofile,
        lambda: _seal(plain.parent / "again", values, widths),
        values.nbytes,
    )


def _open(path: Path) -> dict:
    def plain() -> None:
        with h5py.File(path) as file:
            file["ids"][...]

    def ours() -> None:
        with FeatureFile(path) as features:
            features.ids  # noqa: B018 (reads them)

    with FeatureFile(path) as features:
        size = f"{len(features):,} rows of {len(features.cuts)} cuts"
    return compare(f"open {size}, with ids: h5py.File / FeatureFile", plain, ours)


def _size(features: FeatureFile) -> str:
    cuts = f" from {len(features.cuts)} cuts" if len(features.cuts) > 1 else ""
    return f"{len(features):,} x {features.joined_shape()[0]:,}{cuts}"


@contextmanager
def _filled(num_rows: int, widths: tuple[int, ...]) -> Iterator[tuple[Path, Path]]:
    """Yields a sealed file and a plain one of the same random values."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((num_rows, sum(widths)), np.float32)
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain"
        values.tofile(plain)
        yield _seal(Path(folder), values, widths), plain


def _seal(root: Path, values: np.ndarray, widths: tuple[int, ...]) -> Path:
    """Writes values as an extraction does, in batches, one dataset per cut."""
    ends = np.cumsum(widths)
    columns = {
        f"cut{end}": slice(end - width, end) for end, width in zip(ends, widths, strict=True)
    }
    spec = replace(SPEC, cuts=tuple(columns))
    ids = [f"train/class/image_{row:06d}.jpg" for row in range(len(values))]
    shapes = {name: (width,) for name, width in zip(columns, widths, strict=True)}
    writer = FeatureWriter(root, spec, ids, shapes)
    rows = np.arange(len(values))
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        writer.write(batch, {name: values[batch, some] for name, some in columns.items()})
    return seal_synthetic(writer)


def seal_synthetic(writer: FeatureWriter) -> Path:
    """Seals a file of which all but the features is made up."""
    count = len(writer.ids)
    return writer.seal(
        labels=np.arange(count) % 10,
        given_split=["train"] * count,
        class_names=[str(label) for label in range(10)],
        image_digests=np.random.default_rng(0).integers(0, 256, (count, 32), np.uint8),
    )

"""Data sets of Hugging Face as .parquet files, with the images' bytes inside.

Source: https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transfer.errors import InputError
from transfer.images.archives import Listing
from transfer.images.digests import FileDigests, digest_of_files
from transfer.images.file_names import is_hidden
from transfer.images.imageset import ImageSet
from transfer.images.parquet import open_parquet
from transfer.images.shards import classes_of, files_named, hold_shards, splits_named
from transfer.images.tables import LABEL_COLUMNS, find_column
from transfer.images.texts import GrowingTexts, Texts

_IMAGE_COLUMNS = ("image", "img")
_ROWS = 64  # that are decoded at a time


def holds_images(path: Path) -> bool:
    """Whether a .parquet file has a column of images, and is no table of paths.

    Raises:
        InputError: As `open_parquet`.
    """
    with open_parquet(path) as file:
        return _image_column(file.schema_arrow) is not None


def find(listing: Listing) -> ParquetShards | None:
    """Finds the files of a data set in a folder or below an address that has no image files.

    Raises:
        InputError: If they are of the layout of `datasets.save_to_disk`, or in an archive.
    """
    if not hold_shards(listing):
        return None
    if any(name.endswith(".arrow") and not is_hidden(name) for name in listing.files):
        raise InputError(
            f"{str(listing.path)!r} expects .parquet files, received .arrow files as save_to_disk "
            "makes them: write it with the data set's to_parquet"
        )
    paths, names = files_named(listing, ".parquet")
    return ParquetShards(paths, names) if names else None


@dataclass(frozen=True)
class ParquetImages:
    """Images in a column of several files, which are read forward, a few rows at a time.

    Attributes:
        paths: The files.
        starts: `(files + 1,)` int64: member number of each file's first row, and of the end.
        column: Name of the column's bytes, such as "image.bytes".
    """

    paths: tuple[Path, ...]
    starts: np.ndarray
    column: str
    sequential: bool = True

    def readers(self, members: np.ndarray) -> Generator[Callable[[], bytes], None, None]:
        """See `EncodedFiles`."""
        for path, start, stop in zip(self.paths, self.starts, self.starts[1:], strict=False):
            inside = members[(members >= start) & (members < stop)] - start
            if len(inside):
                yield from self._of_file(path, inside)

    def _of_file(self, path: Path, rows: np.ndarray) -> Iterator[Callable[[], bytes]]:
        with open_parquet(path) as file:
            count = file.metadata.num_row_groups
            sizes = [file.metadata.row_group(group).num_rows for group in range(count)]
            starts = np.concatenate([[0], np.cumsum(sizes)])
            groups = np.unique(np.searchsorted(starts, rows, "right") - 1).tolist()
            there = np.concatenate([np.arange(starts[g], starts[g + 1]) for g in groups])
            is_wanted = np.isin(there, rows)
            for batch in _batches(path, file, groups, self.column):
                for place in np.flatnonzero(is_wanted[: len(batch)]).tolist():
                    yield partial(_there, batch[place].as_py())
                is_wanted = is_wanted[len(batch) :]


@dataclass(frozen=True)
class ParquetShards:
    """The files of one data set.

    Attributes:
        paths: Where they lie.
        names: POSIX paths below the data set's folder, which say the splits.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]

    def digest(self, digests_of: FileDigests) -> str:
        """Returns the sha256, in hexadecimal, of the files' names with the sha256 of each."""
        return digest_of_files(self.paths, self.names, digests_of)

    def load(self) -> ImageSet:
        """Lists the images in the order of files and rows.

        An id is the split and the path that the file has of an image, `train/cats/1.jpg`; where it
        has none of some, or one twice, all ids are numbers, `train/0000042`.

        Raises:
            InputError: If pyarrow is not installed, a file is damaged, has no column of images or
                of labels or other ones than the first, an image has no label, or some names of
                files say a split and others none.
        """
        shards = [_read(path) for path in self.paths]
        where = str(self.paths[0])
        if odd := [
            p for p, one in zip(self.paths, shards, strict=True) if one[:3] != shards[0][:3]
        ]:
            raise InputError(
                f"expected the columns and classes of {where} in all files, received others in "
                f"{odd[0]}; give one configuration of the data set alone"
            )
        column, label, names, _, _ = shards[0]
        values = [value for *_, labels, _ in shards for value in labels]
        class_names, labels = classes_of(where, f"in column {label!r}", names, values)
        counts = [len(labels) for *_, labels, _ in shards]
        splits = np.repeat(splits_named(self.names), counts)
        return ImageSet(
            ids=_ids(splits, [path for *_, paths in shards for path in paths]),
            labels=labels,
            class_names=class_names,
            split=splits.astype("<U5"),
            source=ParquetImages(self.paths, np.concatenate([[0], np.cumsum(counts)]), column),
            members=np.arange(len(labels)),
        )


def _read(path: Path) -> tuple[str, str, tuple[str, ...], list[Any], list[str | None]]:
    """Bytes' column, labels' column, names of classes, and of each row its label and path."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
        features = _features(schema)
        image = _image_column(schema)
        label = _label_column(schema.names, features)
        if image is None or label is None:
            raise InputError(
                f"{path} expects a column of images with their bytes and one of labels, received "
                f"{', '.join(schema.names)}; rename them"
            )
        kept = (name for name in ("bytes", "path") if name in _children(schema.field(image).type))
        leaves = {name: f"{image}.{name}" for name in kept}
        rows = file.read(columns=[label, *([leaves["path"]] if "path" in leaves else [])])
        paths: list[str | None] = [None] * rows.num_rows
        if "path" in leaves:
            paths = [(one or {}).get("path") for one in rows.column(image).to_pylist()]
        names = tuple(features.get(label, {}).get("names") or ())
        return leaves.get("bytes", image), label, names, rows.column(label).to_pylist(), paths


def _features(schema: Any) -> dict[str, Any]:
    """What the library datasets wrote of the columns; nothing where another wrote the file."""
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}


def _image_column(schema: Any) -> str | None:
    from pyarrow import types

    binary = [
        field.name
        for field in schema
        if types.is_binary(field.type) or types.is_large_binary(field.type)
    ]
    place = find_column(binary, _IMAGE_COLUMNS)
    if place is not None:
        return binary[place]
    return next((field.name for field in schema if "bytes" in _children(field.type)), None)


def _children(kind: Any) -> list[str]:
    from pyarrow import types

    if not types.is_struct(kind):
        return []
    return [kind.field(place).name for place in range(kind.num_fields)]


def _label_column(names: Sequence[str], features: dict[str, Any]) -> str | None:
    """By its name, or else the first that is known to hold classes."""
    place = find_column(names, LABEL_COLUMNS)
    if place is not None:
        return names[place]
    return next((n for n in names if features.get(n, {}).get("_type") == "ClassLabel"), None)


def _ids(splits: np.ndarray, paths: Sequence[str | None]) -> Texts:
    named = [
        f"{split}/{(path or '').lstrip('/')}" for split, path in zip(splits, paths, strict=True)
    ]
    if all(paths) and len(set(named)) == len(named):
        return Texts.of(named)
    counts = dict.fromkeys(splits.tolist(), 0)
    numbered = GrowingTexts()
    for split in splits.tolist():
        numbered.append(f"{split}/{counts[split]:07}")
        counts[split] += 1
    return numbered.whole()


def _batches(path: Path, file: Any, groups: list[int], column: str) -> Iterator[Any]:
    """Yields the bytes of a few rows at a time."""
    from pyarrow import ArrowException

    batches = file.iter_batches(_ROWS, row_groups=groups, columns=[column], use_threads=False)
    with closing(batches):
        while True:
            try:
                batch = next(batches, None)
            except (OSError, ArrowException) as error:
                raise InputError(
                    f"{str(path)!r} cannot be read ({' '.join(str(error).split())}): fetch it again"
                ) from error
            if batch is None:
                return
            values = batch.column(0)
            yield values.field("bytes") if "." in column else values


def _there(data: bytes | None) -> bytes:
    if data is None:
        raise OSError("the file names an image and does not hold it")
    return data

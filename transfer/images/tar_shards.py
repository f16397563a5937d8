"""Data sets of WebDataset's as .tar files: images, and beside each a file that holds its label.

Source: https://github.com/webdataset/webdataset (the format)
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transfer.errors import InputError
from transfer.images.archives import Listing, TarFiles, kind_of, open_listing
from transfer.images.digests import FileDigests, digest_of_files
from transfer.images.file_names import is_hidden, is_image
from transfer.images.imageset import ImageSet
from transfer.images.remote import RemoteFolder
from transfer.images.shards import classes_of, files_named, hold_shards, splits_named
from transfer.images.tables import LABEL_COLUMNS, find_column
from transfer.images.texts import Texts
from transfer.machine.processors import processors

_NAMES_OF_CLASSES = ("classnames.txt", "classes.txt")
_THREADS = min(8, processors())


def find(listing: Listing) -> TarShards | None:
    """Finds the shards in a folder or below an address that has no image files, or the one archive.

    Raises:
        InputError: If they cannot be fetched.
    """
    path = listing.path
    if isinstance(path, Path) and not path.is_dir():
        is_shard = any(name.lower().endswith(".cls") for name in listing.files)
        return TarShards((path,), (path.name,), listing=listing) if is_shard else None
    if not hold_shards(listing):
        return None
    paths, names = files_named(listing, ".tar")
    there = [name for name in _NAMES_OF_CLASSES if name in listing.files]
    of_classes = path / there[0] if there and isinstance(path, Path) else None
    return TarShards(paths, names, of_classes) if names else None


@dataclass(frozen=True)
class ShardedFiles:
    """Images in several tars, read at random.

    Attributes:
        paths: The tars.
        starts: `(tars + 1,)` int64: member number of the first image of each, and of the end.
        offsets: `(images,)` int64: where each image's data begins in its tar, in bytes.
        sizes: `(images,)` int64, in bytes.
    """

    paths: tuple[Path, ...]
    starts: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    sequential: bool = False

    def readers(self, members: np.ndarray) -> Generator[Callable[[], bytes], None, None]:
        """See `EncodedFiles`."""
        of_shard = np.searchsorted(self.starts, members, "right") - 1
        for shard, member in zip(of_shard.tolist(), members, strict=True):
            files = TarFiles(self.paths[shard], None, self.offsets, self.sizes)
            yield partial(files.read, member)


@dataclass(frozen=True)
class TarShards:
    """The files of one data set.

    Attributes:
        paths: Where they lie.
        names: POSIX paths below the data set's folder, which say the splits.
        class_names: A file of the names that numbers of classes stand for, one a line, from 0.
        listing: Of the one file, where it was listed to find out what it is.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    class_names: Path | None = None
    listing: Listing | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that are read: the tars, and behind them the one of names."""
        return (*self.paths, *([self.class_names] if self.class_names else []))

    def digest(self, digests_of: FileDigests) -> str:
        """Returns the sha256, in hexadecimal, of the files' names with the sha256 of each."""
        names = [*self.names, *(path.name for path in self.files[len(self.paths) :])]
        return digest_of_files(self.files, names, digests_of)

    def load(self) -> ImageSet:
        """Lists the images in the order of files and of what is in them.

        An id is the name of the file and the path in it, `train-0000/0042.jpg`. The label is what
        `0042.cls` holds, or else the column of classes in `0042.json`.

        Raises:
            InputError: If a file is damaged, an image has no label or shares it with another, or
                some names of files say a split and others none.
        """
        with ThreadPoolExecutor(_THREADS, "shards") as pool:
            listings = [self.listing] if self.listing else pool.map(_listed, self.paths)
            shards = list(pool.map(_read, listings))
        values = [value for shard in shards for value in shard.labels]
        class_names, labels = classes_of(
            str(self.paths[0]),
            '(1.cls beside 1.jpg, or "label" in 1.json)',
            _lines(self.class_names) if self.class_names else (),
            values,
        )
        ids = Texts.of(
            f"{name.removesuffix('.tar')}/{image}"
            for name, shard in zip(self.names, shards, strict=True)
            for image in shard.names
        )
        counts = [len(shard.names) for shard in shards]
        return ImageSet(
            ids=ids,
            labels=labels,
            class_names=class_names,
            split=np.repeat(splits_named(self.names), counts).astype("<U5"),
            source=ShardedFiles(
                self.paths,
                np.concatenate([[0], np.cumsum(counts)]),
                np.concatenate([shard.files.offsets for shard in shards]),
                np.concatenate([shard.files.sizes for shard in shards]),
            ),
            members=np.arange(len(ids)),
        )


class _Shard(NamedTuple):
    """The images of a tar, their paths in it, and what is said of the class of each."""

    files: TarFiles
    names: Texts
    labels: list[Any]


def _listed(path: Path) -> Listing:
    try:
        is_plain = tarfile.is_tarfile(path) and kind_of(path) == "tar"
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not is_plain:  # said before a pass through all of a compressed one
        raise _not_plain(path)
    return open_listing(path)


def _not_plain(path: Path | RemoteFolder) -> InputError:
    return InputError(
        f"expected a tar that is not compressed, received {path}: fetch or unpack it again"
    )


def _read(listing: Listing) -> _Shard:
    path, files = listing.path, listing.contents
    if not isinstance(files, TarFiles) or files.compression:
        raise _not_plain(path)
    labels = _labels_in(listing)
    if not labels:
        raise InputError(
            f"{path} expects 1.cls or 1.json beside 1.jpg, received neither; an archive with one "
            "folder of images per class is given itself, as --data"
        )
    members, values = list[int](), list[Any]()
    taken: dict[str, str] = {}
    for member, name in enumerate(listing.files):
        if not is_image(name) or is_hidden(name):
            continue
        key = _key(name)
        if key in taken:
            raise InputError(
                f"{path} expects one image for each label, received {taken[key]} and {name}; "
                "give them labels, and names before the first dot, of their own"
            )
        taken[key] = name
        members.append(member)
        values.append(_label(files, listing.files, labels[key]) if key in labels else "")
    places = np.array(members, np.int64)
    return _Shard(files.subset(places), Texts.of(listing.files)[places], values)


def _key(name: str) -> str:
    """A path up to the first dot of the file's name, which is that of its sample."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _labels_in(listing: Listing) -> dict[str, int]:
    """Member number of the file with the label of each sample, by its key; .cls before .json."""
    found: dict[str, int] = {}
    for suffix in (".json", ".cls"):
        for member, name in enumerate(listing.files):
            if name.lower().endswith(suffix):
                found[_key(name)] = member
    return found


def _label(files: TarFiles, names: Sequence[str], member: int) -> Any:
    content = files.read(member).decode("utf-8", "replace")
    if not names[member].lower().endswith(".json"):
        return sys.intern(content.strip())  # of millions few are different
    try:
        told = json.loads(content)
    except ValueError:
        raise InputError(
            f"{files.path} expects JSON in {names[member]}, received {content[:60]!r}; mend it"
        ) from None
    columns = list(told) if isinstance(told, dict) else []
    place = find_column(columns, LABEL_COLUMNS)
    return "" if place is None else told[columns[place]]


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} expects names of classes, one a line: {error}") from None
    return [line.strip() for line in lines if line.strip()]

"""Where images come from: CIFAR, bundled digits, a folder, or an archive of one."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from transfer.errors import InputError
from transfer.images import (
    archives,
    cifar,
    class_folders,
    digits,
    manifests,
    parquet_shards,
    splits,
    tar_shards,
)
from transfer.images.archives import Listing
from transfer.images.cifar_downloads import DOWNLOADS, keras_copy
from transfer.images.decoding import Decoding
from transfer.images.digests import FileDigests, file_digests, required_digest
from transfer.images.groups import fingerprint, groups_of
from transfer.images.imageset import ImageSet
from transfer.images.manifests import Manifest
from transfer.images.parquet_shards import ParquetShards
from transfer.images.remote import RemoteFolder, is_address, list_folder, local_copy
from transfer.images.texts import TextArray, Texts

_ARCHIVE_SUFFIXES = (
    *(f".tar.{compression}" for compression in ("gz", "xz", "bz2")),
    *(".tgz", ".txz", ".tbz2", ".tar", ".zip"),
)


@dataclass(frozen=True)
class DataOptions:
    """Which images, and how they are split."""

    data: str = "cifar10"
    """"cifar10", "cifar100", "digits", or a path: a folder with one folder of images per class,
    with or without train/ val/ test/ above, a zip or tar (gz, xz, bz2) of one, CIFAR as its
    authors publish it, a table of paths and labels (.csv, .tsv, .jsonl, .parquet), or .parquet
    files of Hugging Face's or .tar files of WebDataset's with images inside. An address such as
    s3://bucket/photos will do."""
    images_root: str | None = None
    """Where the paths of a table begin, if not in its own folder."""
    limit_per_class: int | None = None
    """Take only the first so many images, by id, of each class of each split that is given."""
    val_fraction: float = 0.1
    """Share of training images to validate on where no val split is given: exact in each class, to
    the image; hashes of ids decide for which, so that an image more moves at most two others."""
    test_fraction: float = 0.1
    """Share of images to test on where neither a test nor a val split is given; likewise."""
    bad_images: Literal["stop", "skip"] = "stop"
    """What to do about files that are no images: stop with a list of them, or set them aside."""
    group: str | None = None
    """What keeps images of one patient, clip or camera on one side of all splits and folds: a
    regular expression searched in each id, whose capture group or whole match names the group; or a
    .csv file with two columns, image id and group. By default a table's column of groups."""
    split_seed: int = 0
    """Another number carves out other images: to see how much a score owes to the split."""
    window: str = "full"
    """Which values of grey images of more than 8 bits become black and white: full (of all 16
    bits), minmax or percentile (of each image: its least and largest value, or its 1st and 99th
    percentile), or LOW:HIGH, such as 0:4095 for a 12-bit camera."""
    page: int = 1
    """Which image of a file with several pages or frames, from 1."""

    @property
    def decoding(self) -> Decoding:
        """What of files' values become pixels."""
        return Decoding(self.window, self.page)


Remembering = Callable[[Sequence[Path], Callable[[], ImageSet]], ImageSet]
"""Returns what the function does, which needs a pass through some files; or what it returned when
they were the same."""


def open_anew(files: Sequence[Path], opened: Callable[[], ImageSet]) -> ImageSet:
    """Remembers nothing."""
    return opened()


def load(options: DataOptions, remembering: Remembering = open_anew) -> ImageSet:
    """Opens the images; encoded ones are listed, not yet read.

    Rows are in order of id, but in a compressed tar in the order of the archive.

    Args:
        options: What to open.
        remembering: Opens archives and shards.

    Raises:
        InputError: One line, if there is nothing usable there, or the options contradict.
    """
    images = load_as_given(options, remembering)
    split = carve(images.ids, images.labels, images.class_names, images.split, options)
    return replace(images, split=split)


def carve(
    ids: TextArray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    given: np.ndarray,
    options: DataOptions,
) -> np.ndarray:
    """Carves out the splits that are not given; `splits.assign` with the options' shares."""
    shares = options.val_fraction, options.test_fraction
    groups = groups_in(ids, options)
    if seed := options.split_seed:  # other names have other hashes
        ids = Texts.of(f"{seed}\0{id}" for id in ids)
        groups = None if groups is None else np.array([f"{seed}\0{one}" for one in groups], object)
    return splits.assign(ids, labels, class_names, given, *shares, groups)


def groups_in(ids: TextArray, options: DataOptions) -> np.ndarray | None:
    """The group of each image as the options say, `(rows,)` str; None without any.

    Raises:
        InputError: As `groups.groups_of`.
    """
    if options.group is None:
        manifest = _manifest(options)
        groups = manifest.groups_of(ids) if manifest else None
        return None if groups is None else np.array(groups, object)
    part = options.limit_per_class is not None or options.bad_images == "skip"
    return groups_of(ids, options.group, part)


def how_split(options: DataOptions) -> dict[str, Any]:
    """What decides which rows are carved out, to be kept beside what was trained on the others.

    Raises:
        InputError: If a file of groups cannot be read.
    """
    return {
        "val_fraction": options.val_fraction,
        "test_fraction": options.test_fraction,
        "group": _group_fingerprint(options),
        "split_seed": options.split_seed,
        "split_rule": splits.RULE,
    }


def load_as_given(options: DataOptions, remembering: Remembering = open_anew) -> ImageSet:
    """Opens the images with the splits that are given, and no others carved out of them.

    Args:
        options: What to open.
        remembering: As in `load`.

    Raises:
        InputError: As `load`.
    """
    splits.check_fractions(options.val_fraction, options.test_fraction)
    if options.limit_per_class is not None and options.limit_per_class < 1:
        raise InputError(f"limit_per_class must be at least 1, received {options.limit_per_class}")
    decoding = options.decoding
    found = _found(options)
    images = remembering(found.files, found.load) if found.files else found.load()
    images = replace(images, decoding=decoding)
    if len(images.class_names) < 2:
        raise InputError(
            f"{options.data!r} has only one class ({', '.join(map(repr, images.class_names))}), "
            "at least two are needed: give a folder with one folder of images per class, "
            "or a table that has more labels"
        )
    if options.limit_per_class is not None:
        images = images.subset(_first_of_each_class(images, options.limit_per_class))
    return images


LeftOut = Callable[[Mapping[str, int]], None]


def ignore(left_out: Mapping[str, int]) -> None:
    """Says nothing of what is left out."""


def digest(
    options: DataOptions,
    digests_of: FileDigests = file_digests,
    left_out: LeftOut = ignore,
) -> str:
    """Returns the sha256, in hexadecimal, of the content behind `options.data`.

    Where the content lies does not matter, nor do the other options. An archive: of its bytes. A
    folder: of the ids of its images, or names of its CIFAR or .parquet files, with the sha256 of
    each; a file that cannot be read counts as such. A table: of that and labels and splits.

    Args:
        options: Only `data` and `images_root` matter.
        digests_of: Digests the files, all in one call; one that remembers them saves reading them.
        left_out: Told what else lies in a folder, as `ImageSet.left_out`; archives are not listed.

    Raises:
        InputError: If there is nothing usable there.
    """
    return _found(options, left_out).digest(digests_of)


def is_named(options: DataOptions) -> bool:
    """Whether the data is one that we know by name, and no path."""
    return options.data in DOWNLOADS or options.data == "digits"


def data_name(options: DataOptions) -> str:
    """Returns a short name for folders of results: "digits", "cats-and-dogs"."""
    if is_named(options):
        return options.data
    name = _file_name(options.data)
    suffixes = (*_ARCHIVE_SUFFIXES, *manifests.SUFFIXES)
    suffix = next((s for s in suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or "data"


def remarks(options: DataOptions) -> list[str]:
    """What of the data was understood in a way that the user may not expect, a line each."""
    manifest = _manifest(options)
    if not manifest or not manifest.repeated:
        return []
    few = ", ".join(manifest.repeated[:3])
    return [
        f"{options.data} says {len(manifest.repeated):,} rows again, such as {few}: one each counts"
    ]


def _group_fingerprint(options: DataOptions) -> str | None:
    if options.group is None and (manifest := _manifest(options)):
        return manifest.fingerprint()
    return fingerprint(options.group)


def _check_collision(options: DataOptions) -> None:
    if is_named(options) and Path(options.data).is_dir():
        raise InputError(
            f"{options.data!r} is the name of a data set that we know, and of a folder here: "
            f"give ./{options.data} for the folder; for the data set, rename the folder or "
            "run elsewhere"
        )


class _Found(NamedTuple):
    """What there is behind an option, not yet looked through.

    Attributes:
        load: Opens the images.
        digest: Digests them, as `digest` does.
        files: Those that decide what `load` gives and cost it a pass; empty where there are none.
    """

    load: Callable[[], ImageSet]
    digest: Callable[[FileDigests], str]
    files: Sequence[Path] = ()


def _found(options: DataOptions, left_out: LeftOut = ignore) -> _Found:
    _check_collision(options)
    if options.data == "digits":
        return _Found(digits.load, partial(required_digest, digits.digits_file()))
    if manifest := _manifest(options):
        root, is_part = _images_root(options), options.bad_images == "skip"
        return _Found(
            partial(manifests.load, manifest, root, is_part),
            partial(manifests.digest, manifest, root),
        )
    if options.images_root is not None:
        expected = ", ".join(manifests.SUFFIXES)
        raise InputError(
            f"--images-root expects --data to be a table ({expected}), received "
            f"{options.data!r}; leave it out"
        )
    place = _place(options.data)
    if isinstance(place, RemoteFolder) or place.is_dir():
        return _listed(archives.open_listing(place), left_out)
    if manifests.is_table(place.name):  # not of paths, but of images
        shards = ParquetShards((place,), (place.name,))
        return _Found(shards.load, shards.digest)
    return _Found(  # an archive's digest does without its listing, which can take a pass
        lambda: _listed(archives.open_listing(place)).load(),
        partial(_digest_of_archive, place),
        (place,),
    )


def _digest_of_archive(path: Path, digests_of: FileDigests) -> str:
    archives.kind_of(path)
    return required_digest(path, digests_of)


def _listed(listing: Listing, left_out: LeftOut = ignore) -> _Found:
    """What the files of a folder or an archive are."""
    if found := cifar.find(listing):
        return _Found(
            partial(cifar.load, listing, *found),
            partial(cifar.digest, listing, *found),
        )
    if parquet := parquet_shards.find(listing):
        return _Found(parquet.load, parquet.digest)
    if tars := tar_shards.find(listing):
        return _Found(tars.load, tars.digest, tars.files)
    return _Found(
        partial(class_folders.load, listing), partial(class_folders.digest, listing, left_out)
    )


def _manifest(options: DataOptions) -> Manifest | None:
    """The table that the data is, if it is one of paths."""
    if not manifests.is_table(options.data):
        return None
    path = _place(options.data)
    if not isinstance(path, Path) or path.is_dir():
        return None
    if path.suffix.lower() == ".parquet" and parquet_shards.holds_images(path):
        return None
    return manifests.read(path)


def _images_root(options: DataOptions) -> Path | RemoteFolder:
    root = options.images_root
    if root is None:
        root = options.data.rpartition("/")[0] if is_address(options.data) else None
    if root is None:
        return Path(options.data).expanduser().parent
    return list_folder(root) if is_address(root) else Path(root).expanduser()


def _place(data: str) -> Path | RemoteFolder:
    if data in DOWNLOADS:
        return keras_copy(data)
    if not is_address(data):
        return Path(data).expanduser()
    is_file = _file_name(data).lower().endswith((*_ARCHIVE_SUFFIXES, *manifests.SUFFIXES))
    return local_copy(data) if is_file else list_folder(data)


def _file_name(data: str) -> str:
    if is_address(data):
        return posixpath.basename(data.partition("?")[0].rstrip("/"))
    return Path(data).expanduser().resolve().name


def _first_of_each_class(images: ImageSet, limit: int) -> np.ndarray:
    """Returns the rows, increasing, of the first `limit` by id of each class of each split."""
    taken: Counter[tuple[str, int]] = Counter()
    rows = []
    for row in np.argsort(images.ids, kind="stable"):
        group = (images.split[row], images.labels[row])
        if taken[group] < limit:
            taken[group] += 1
            rows.append(row)
    return np.sort(np.array(rows, np.int64))

"""Where images come from: CIFAR, bundled digits, a folder, or an archive of one."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from transfer.errors import InputError
from transfer.images import archives, cifar, class_folders, digits, splits
from transfer.images.digests import FileDigests, file_digests, required_digest
from transfer.images.downloads import DOWNLOADS, keras_copy
from transfer.images.groups import fingerprint, groups_of
from transfer.images.imageset import ImageSet

_ARCHIVE_SUFFIXES = (
    *(f".tar.{compression}" for compression in ("gz", "xz", "bz2")),
    *(".tgz", ".txz", ".tbz2", ".tar", ".zip"),
)


@dataclass(frozen=True)
class DataOptions:
    """Which images, and how they are split."""

    data: str = "cifar10"
    """"cifar10", "cifar100", "digits", or a path: a folder with one folder of images per class,
    with or without train/ val/ test/ above, a zip or tar (gz, xz, bz2) of one, or CIFAR as its
    authors publish it."""
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
    .csv file with two columns, image id and group."""
    split_seed: int = 0
    """Another number carves out other images: to see how much a score owes to the split."""


def load(options: DataOptions) -> ImageSet:
    """Opens the images; encoded ones are listed, not yet read.

    Rows are in order of id, but in a compressed tar in the order of the archive.

    Raises:
        InputError: One line, if there is nothing usable there, or the options contradict.
    """
    images = load_as_given(options)
    split = carve(images.ids, images.labels, images.class_names, images.split, options)
    return replace(images, split=split)


def carve(
    ids: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    given: np.ndarray,
    options: DataOptions,
) -> np.ndarray:
    """Carves out the splits that are not given; `splits.assign` with the options' shares."""
    shares = options.val_fraction, options.test_fraction
    groups = groups_in(ids, options)
    if seed := options.split_seed:  # other names have other hashes
        ids = np.array([f"{seed}\0{id}" for id in ids], object)
        groups = None if groups is None else np.array([f"{seed}\0{one}" for one in groups], object)
    return splits.assign(ids, labels, class_names, given, *shares, groups)


def groups_in(ids: np.ndarray, options: DataOptions) -> np.ndarray | None:
    """The group of each image as the options say, `(rows,)` str; None without any.

    Raises:
        InputError: As `groups.groups_of`.
    """
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
        "group": fingerprint(options.group),
        "split_seed": options.split_seed,
        "split_rule": splits.RULE,
    }


def load_as_given(options: DataOptions) -> ImageSet:
    """Opens the images with the splits that are given, and no others carved out of them.

    Raises:
        InputError: As `load`.
    """
    splits.check_fractions(options.val_fraction, options.test_fraction)
    if options.limit_per_class is not None and options.limit_per_class < 1:
        raise InputError(f"limit_per_class must be at least 1, received {options.limit_per_class}")
    images = digits.load() if options.data == "digits" else _open(_path(options.data))
    if len(images.class_names) < 2:
        raise InputError(
            f"{options.data!r} has only one class ({', '.join(images.class_names)}), "
            "at least two are needed: give a folder with one folder of images per class"
        )
    if options.limit_per_class is not None:
        images = images.subset(_first_of_each_class(images, options.limit_per_class))
    return images


def digest(options: DataOptions, digests_of: FileDigests = file_digests) -> str:
    """Returns the sha256, in hexadecimal, of the content behind `options.data`.

    Where the content lies does not matter, nor do the other options. An archive: of its bytes. A
    folder: of the ids of its images, or names of its CIFAR files, with the sha256 of each; a file
    that cannot be read counts as such.

    Args:
        options: Only `data` matters.
        digests_of: Digests the files, all in one call; one that remembers them saves reading them.

    Raises:
        InputError: If there is nothing usable there.
    """
    if options.data == "digits":
        return required_digest(digits.digits_file(), digests_of)
    path = _path(options.data)
    if archives.kind_of(path) != "folder":
        return required_digest(path, digests_of)
    listing = archives.open_listing(path)
    if found := cifar.find(listing):
        release, prefix = found
        names = list(release.files)
    else:
        tree = class_folders.find_tree(listing)
        prefix = tree.prefix
        names = sorted(tree.images)
    digests = digests_of([path / (prefix + name) for name in names])
    lines = [f"{sha256}  {name}\n" for name, sha256 in zip(names, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_named(options: DataOptions) -> bool:
    """Whether the data is one that we know by name, and no path."""
    return options.data in DOWNLOADS or options.data == "digits"


def data_name(options: DataOptions) -> str:
    """Returns a short name for folders of results: "digits", "cats-and-dogs"."""
    if is_named(options):
        return options.data
    name = Path(options.data).expanduser().resolve().name
    suffix = next((s for s in _ARCHIVE_SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or "data"


def _path(data: str) -> Path:
    return keras_copy(data) if data in DOWNLOADS else Path(data).expanduser()


def _open(path: Path) -> ImageSet:
    listing = archives.open_listing(path)
    if found := cifar.find(listing):
        return cifar.load(listing, *found)
    return class_folders.load(listing)


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

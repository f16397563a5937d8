"""Where images come from: CIFAR, bundled digits, a folder, or an archive of one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unicodedata import category

import numpy as np

from transfer.errors import InputError
from transfer.images import archives, cifar, splits
from transfer.images.archives import Listing
from transfer.images.decoding import SUFFIXES
from transfer.images.digests import FileDigests, file_digests, required_digest
from transfer.images.groups import fingerprint, groups_of
from transfer.images.imageset import ImageSet

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_ARCHIVE_SUFFIXES = (
    *(f".tar.{compression}" for compression in ("gz", "xz", "bz2")),
    *(".tgz", ".txz", ".tbz2", ".tar", ".zip"),
)


def keras_home() -> Path:
    """The folder where Keras keeps what it downloads, found without importing it."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


@dataclass(frozen=True)
class Download:
    """What keras.datasets downloads, and what it leaves in the folder for data sets.

    Source: keras/src/datasets/cifar10.py and cifar100.py, Keras 3.15.
    """

    target: str
    folder: str
    url: str
    sha256: str

    def here(self) -> Path | None:
        """The folder where it was downloaded to, if it was."""
        datasets = keras_home() / "datasets"
        folders = (datasets / self.target / self.folder, datasets / self.folder)
        return next((one for one in folders if one.is_dir() and cifar.is_complete(one)), None)


DOWNLOADS = {
    "cifar10": Download(
        "cifar-10-batches-py-target",
        "cifar-10-batches-py",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": Download(
        "cifar-100-python-target",
        "cifar-100-python",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}
"""By the name that `DataOptions.data` takes."""


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
    images = _digits() if options.data == "digits" else _open(_path(options.data))
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
        return required_digest(_digits_file(), digests_of)
    path = _path(options.data)
    if archives.kind_of(path) != "folder":
        return required_digest(path, digests_of)
    listing = archives.open_listing(path)
    if found := cifar.find(listing):
        release, prefix = found
        names = list(release.files)
    else:
        tree = _tree(listing)
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
    return _keras_copy(data) if data in DOWNLOADS else Path(data).expanduser()


def _open(path: Path) -> ImageSet:
    listing = archives.open_listing(path)
    if found := cifar.find(listing):
        return cifar.load(listing, *found)
    return _from_class_folders(listing)


def _keras_copy(name: str) -> Path:
    """Returns the folder of CIFAR pickles that keras.datasets keeps, downloading it if need be."""
    download = DOWNLOADS[name]
    if here := download.here():
        return here

    from keras.utils import get_file

    try:
        extracted = get_file(
            download.target, origin=download.url, extract=True, file_hash=download.sha256
        )
    except Exception as error:  # Keras raises plain Exception where a download fails.
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} could not be downloaded ({reason}): give a local copy of its archive "
            f"(DATA={Path(download.url).name}), a folder of your own images (DATA=folder), "
            "or run `make demo`, which needs no download"
        ) from error
    return Path(extracted) / download.folder


def _digits() -> ImageSet:
    table = np.loadtxt(_digits_file(), delimiter=",")
    levels = np.rint(table[:, :-1].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    rows = len(levels)
    return ImageSet(
        ids=np.array([f"digits/{row:04}" for row in range(rows)], object),
        labels=table[:, -1].astype(np.int64),
        class_names=tuple(str(name) for name in range(10)),
        split=np.full(rows, "train", "<U5"),
        source=np.repeat(levels[..., None], 3, axis=-1),
        members=np.arange(rows),
    )


def _digits_file() -> Path:
    """Finds the file behind load_digits; importing scikit-learn for it would take a second."""
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise InputError("'digits' comes with scikit-learn: install it (pip install scikit-learn)")
    return Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")


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


@dataclass(frozen=True)
class _Tree:
    """The visible part of a listing, below the folders that wrap all of it.

    Attributes:
        prefix: The wrapping folders, "" or ending in "/".
        images: Member number of each image by its POSIX path below the prefix.
        folders: Paths below the prefix, as tuples of names.
    """

    prefix: str
    images: dict[str, int]
    folders: set[tuple[str, ...]]


def _tree(listing: Listing) -> _Tree:
    files = {name: i for i, name in enumerate(listing.files) if _is_visible(name)}
    images = {name: i for name, i in files.items() if name.lower().endswith(SUFFIXES)}
    if not images:
        raise InputError(
            f"{str(listing.path)!r} holds no images ({', '.join(SUFFIXES)}): "
            "give a folder with one folder of images per class"
        )
    for name in images:
        if not name.isprintable():  # as nearly all are
            _check_name(name)
    folders = set[tuple[str, ...]]()
    for path in [tuple(name.split("/")) for name in listing.folders if _is_visible(name)]:
        folders.update(_above(path), [path])
    for parent in _holders(files):
        folders.update(_above(parent), [parent])
    folders.discard(())
    holders = _holders(images)
    root = _root(holders, folders)
    prefix = "".join(f"{part}/" for part in root)
    return _Tree(
        prefix,
        {name.removeprefix(prefix): member for name, member in images.items()},
        {path[len(root) :] for path in folders if len(path) > len(root)},
    )


def _check_name(name: str) -> None:
    """Refuses a name that no list, table or terminal could show as it is."""
    kinds = {category(letter) for letter in name}
    if "Cs" in kinds:
        raise InputError(f"file name {name!r} is not UTF-8: rename it")
    if kinds & {"Cc", "Zl", "Zp"}:
        raise InputError(f"file name {name!r} holds a control character: rename it")


def _is_visible(path: str) -> bool:
    below = f"/{path}"
    if "/." not in below and "/__MACOSX" not in below:
        return True  # as nearly all are; taking each apart took most of the time
    parts = path.split("/")
    return not any(p == "__MACOSX" or (p.startswith(".") and p != "..") for p in parts)


def _holders(files: Iterable[str]) -> set[tuple[str, ...]]:
    """Returns the folders that the files lie in; () is the uppermost."""
    folders = {name.rpartition("/")[0] for name in files}
    return {tuple(folder.split("/")) if folder else () for folder in folders}


def _above(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (path[:depth] for depth in range(1, len(path)))


def _root(holders: set[tuple[str, ...]], folders: set[tuple[str, ...]]) -> tuple[str, ...]:
    """Steps into a single folder as long as it holds only folders and is not named for a split."""
    root: tuple[str, ...] = ()
    while root not in holders:
        inside = {path for path in folders if path[:-1] == root}
        below = next(iter(inside))
        if len(inside) > 1 or below in holders or below[-1].casefold() in _SPLIT_NAMES:
            break
        root = below
    return root


def _from_class_folders(listing: Listing) -> ImageSet:
    tree = _tree(listing)
    where = str(listing.path)
    depth = 2 if _has_splits(tree, where) else 1
    paths = {name: tuple(name.split("/")) for name in tree.images}
    if stray := [name for name, path in paths.items() if len(path) <= depth]:
        raise InputError(
            f"{where!r}: {len(stray)} of {len(paths)} images lie in no class folder "
            f"(such as {min(stray)!r}): expected class/image; `transfer structure` can sort them"
        )
    filled = {path[:depth] for path in paths.values()}
    needed = {path for path in tree.folders if len(path) <= depth}
    if empty := sorted(needed - filled - {path[:1] for path in filled}):
        raise InputError(
            f"{where!r}: folder {'/'.join(empty[0])!r} holds no images "
            f"({', '.join(SUFFIXES)}): put some there or remove it"
        )
    if depth == 2:
        _check_training_classes(filled, where)
    class_names = tuple(sorted({path[-1] for path in filled}))
    index = {name: label for label, name in enumerate(class_names)}
    order: Callable[[str], int | str] = (
        tree.images.__getitem__ if listing.contents.sequential else str
    )
    ids = sorted(paths, key=order)
    given = [_SPLIT_NAMES[paths[id][0].casefold()] if depth == 2 else "train" for id in ids]
    return ImageSet(
        ids=np.array(ids, object),
        labels=np.array([index[paths[id][depth - 1]] for id in ids], np.int64),
        class_names=class_names,
        split=np.array(given, "<U5"),
        source=listing.contents,
        members=np.array([tree.images[id] for id in ids], np.int64),
    )


def _has_splits(tree: _Tree, where: str) -> bool:
    """Says whether the uppermost folders are splits; classes may bear such a name too."""
    tops = {path[0] for path in tree.folders}
    named = {top for top in tops if top.casefold() in _SPLIT_NAMES}
    if named and named != tops and any(p[0] in named for p in tree.folders if len(p) > 1):
        others = ", ".join(map(repr, sorted(tops - named)))
        raise InputError(
            f"{where!r} mixes split folders ({', '.join(sorted(named))}) with others "
            f"({others}): move the others away, or rename the classes"
        )
    return bool(named) and named == tops


def _check_training_classes(filled: set[tuple[str, ...]], where: str) -> None:
    trained = {name for split, name in filled if _SPLIT_NAMES[split.casefold()] == "train"}
    for split, name in sorted(filled):
        if name not in trained:
            raise InputError(
                f"{where!r}: class {name!r} of {split!r} has no training images: "
                f"add train/{name} or remove it"
            )

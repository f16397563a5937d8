"""One folder of images per class, with or without folders of splits above."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from unicodedata import normalize

import numpy as np

from transfer.errors import InputError
from transfer.images.archives import Listing
from transfer.images.digests import FileDigests, digest_of_files, files_in
from transfer.images.file_names import FORMATS, choose_images, is_hidden, kinds_in_words
from transfer.images.imageset import ImageSet
from transfer.images.splits import SPLIT_NAMES
from transfer.images.texts import Texts

TABLES = (".csv", ".tsv", ".jsonl")
"""Names of files that may say the classes end so."""


@dataclass(frozen=True)
class Tree:
    """The visible part of a listing, below the folders that wrap all of it.

    Attributes:
        prefix: The wrapping folders, "" or ending in "/".
        images: POSIX paths of the images below the prefix, in the order of storage; `Texts` where
            the listing has such.
        members: `(images,)` int64, their member numbers.
        folders: Paths below the prefix, as tuples of names.
        left_out: How many other files there are, by kind.
    """

    prefix: str
    images: Sequence[str]
    members: np.ndarray
    folders: set[tuple[str, ...]]
    left_out: Mapping[str, int]


def find_tree(listing: Listing) -> Tree:
    """Finds the images of a listing, and the folders that they lie in.

    Raises:
        InputError: If there are none, or a name is not UTF-8.
    """
    chosen = choose_images(listing.files)
    images = chosen.images
    if not images:
        there = f", but {kinds_in_words(chosen.left_out)}" if chosen.left_out else ""
        raise InputError(
            f"{str(listing.path)!r} holds no images ({FORMATS}){there}: "
            "give a folder with one folder of images per class"
        )
    for name in images:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"file name {name!r} is not UTF-8: rename it") from error
    folders = set[tuple[str, ...]]()
    # Not all archives name their folders: that one is there a file says, even a hidden one.
    for path in {tuple(name.split("/")) for name in listing.folders} | _holders(listing.files):
        visible = tuple(takewhile(lambda part: not is_hidden(part), path))
        folders.update(_above(visible), [visible])
    folders.discard(())
    holders = _holders(images)
    root = _root(holders, folders)
    prefix = "".join(f"{part}/" for part in root)
    below = (name.removeprefix(prefix) for name in images)
    # Those of a folder stay objects: each run goes through them for its digest, and no further.
    return Tree(
        prefix,
        Texts.of(below) if isinstance(images, Texts) else list(below),
        chosen.places,
        {path[len(root) :] for path in folders if len(path) > len(root)},
        chosen.left_out,
    )


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
        if len(inside) > 1 or below in holders or below[-1].casefold() in SPLIT_NAMES:
            break
        root = below
    return root


def digest(
    listing: Listing,
    left_out: Callable[[Mapping[str, int]], None],
    digests_of: FileDigests,
) -> str:
    """Returns the sha256, in hexadecimal, of the ids of a folder's images with the sha256 of each.

    Args:
        listing: Of a folder.
        left_out: Told what else lies there, as `ImageSet.left_out`.
        digests_of: Digests the files, all in one call.

    Raises:
        InputError: As `find_tree`.
    """
    tree = find_tree(listing)
    left_out(tree.left_out)
    names = sorted(tree.images)
    paths = files_in(listing.path, (tree.prefix + name for name in names))
    return digest_of_files(paths, names, digests_of)


def load(listing: Listing) -> ImageSet:
    """Makes rows of the images, with their paths below the wrapping folders as ids.

    Raises:
        InputError: If there are no images, some lie in no class folder, a class folder is empty,
            split folders stand beside others, or a class has no training images.
    """
    tree = find_tree(listing)
    where = str(listing.path)
    depth = 2 if _has_splits(tree, where) else 1
    if stray := [name for name in tree.images if name.count("/") < depth]:
        raise InputError(
            f"{where!r}: {len(stray)} of {len(tree.images)} images lie in no class folder "
            f"(such as {min(stray)!r}): expected class/image; `transfer structure` can sort them"
            f"{_table_beside(listing)}"
        )
    folders = {name.rpartition("/")[0] for name in tree.images}
    filled = {tuple(folder.split("/")[:depth]) for folder in folders}
    needed = {path for path in tree.folders if len(path) <= depth}
    if empty := sorted(needed - filled - {path[:1] for path in filled}):
        raise InputError(
            f"{where!r}: folder {'/'.join(empty[0])!r} holds no images ({FORMATS}): "
            "put some there or remove it"
        )
    if depth == 2:
        _check_training_classes(filled, where)
    class_names = tuple(sorted({_class_name(path[-1]) for path in filled}))
    index = {name: label for label, name in enumerate(class_names)}
    ids = Texts.of(tree.images)
    order = np.arange(len(ids))
    if not listing.contents.sequential:
        order = np.argsort(np.asarray(ids), kind="stable")
        ids = ids[order]
    label_of = {"/".join(path): index[_class_name(path[-1])] for path in filled}
    split_of = {
        path[0]: SPLIT_NAMES[path[0].casefold()] if depth == 2 else "train" for path in filled
    }
    return ImageSet(
        ids=ids,
        labels=np.fromiter((label_of[_above_depth(id, depth)] for id in ids), np.int64, len(ids)),
        class_names=class_names,
        split=np.fromiter((split_of[_above_depth(id, 1)] for id in ids), "<U5", len(ids)),
        source=listing.contents,
        members=tree.members[order],
        left_out=tree.left_out,
    )


def _above_depth(id: str, depth: int) -> str:
    """The first folders of a path."""
    return "/".join(id.split("/", depth)[:depth])


def _class_name(folder: str) -> str:
    """The class that a folder is named for: macOS may store "é" as two code points, others as one.

    Ids stay as they are on disk.
    """
    return normalize("NFC", folder)


def _table_beside(listing: Listing) -> str:
    tables = sorted(name for name in listing.files if name.lower().endswith(TABLES))
    return f", or give a table as --data, such as {tables[0]}" if tables else ""


def _has_splits(tree: Tree, where: str) -> bool:
    """Says whether the uppermost folders are splits; classes may bear such a name too."""
    tops = {path[0] for path in tree.folders}
    named = {top for top in tops if top.casefold() in SPLIT_NAMES}
    if named and named != tops and any(p[0] in named for p in tree.folders if len(p) > 1):
        others = ", ".join(map(repr, sorted(tops - named)))
        raise InputError(
            f"{where!r} mixes split folders ({', '.join(sorted(named))}) with others "
            f"({others}): move the others away, or rename the classes"
        )
    return bool(named) and named == tops


def _check_training_classes(filled: set[tuple[str, ...]], where: str) -> None:
    trained = {
        _class_name(name) for split, name in filled if SPLIT_NAMES[split.casefold()] == "train"
    }
    for split, name in sorted(filled):
        if _class_name(name) not in trained:
            raise InputError(
                f"{where!r}: class {name!r} of {split!r} has no training images: "
                f"add {f'train/{name}'!r} or remove it"
            )

"""What data sets in several files have in common: where these are, splits and classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from transfer.errors import InputError
from transfer.images.archives import Listing
from transfer.images.file_names import is_hidden, is_image
from transfer.images.records import as_text
from transfer.images.remote import RemoteFolder, local_copy
from transfer.images.splits import SPLIT_NAMES


def hold_shards(listing: Listing) -> bool:
    """Whether a folder or archive has no images, so that other files may hold some."""
    # The first image decides, and most folders have one at once.
    return not any(is_image(name) and not is_hidden(name) for name in listing.files)


def files_named(listing: Listing, suffix: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files of a folder, or below an address, whose names end so: where they are, and names.

    What lies behind an address is fetched.

    Returns:
        Paths, and POSIX paths below the folder, by which both are sorted.

    Raises:
        InputError: If they are in an archive, or cannot be fetched.
    """
    names = sorted(
        name for name in listing.files if name.lower().endswith(suffix) and not is_hidden(name)
    )
    root = listing.path
    if isinstance(root, RemoteFolder):
        paths = [local_copy(f"{root.address.rstrip('/')}/{name}") for name in names]
    elif root.is_dir() or not names:
        paths = [root / name for name in names]
    else:
        raise InputError(f"{str(root)!r} expects images, received {suffix} files: unpack it")
    return tuple(paths), tuple(names)


def splits_named(names: Sequence[str]) -> list[str]:
    """Which split each of some files is of: the first word in its name, or else its folder's.

    Words are parted by `-`, `_`, `.` and blanks: `train-00000-of-00002.parquet`.

    Args:
        names: POSIX paths.

    Returns:
        Of "train", "val" and "test"; all "train" where no name says any.

    Raises:
        InputError: If some say one and others none.
    """
    named = [_split_named(name) for name in names]
    if None in named and set(named) != {None}:
        bare = names[named.index(None)]
        raise InputError(
            f"expected all files to be called train-, validation- or test-, received {bare!r} "
            "beside others that are; rename or remove it"
        )
    return [split or "train" for split in named]


def _split_named(name: str) -> str | None:
    path = PurePosixPath(name)
    words = [*re.split(r"[-_.\s]", path.name), path.parent.name]
    return next((SPLIT_NAMES[w.casefold()] for w in words if w.casefold() in SPLIT_NAMES), None)


def classes_of(
    where: str, what: str, names: Sequence[str], values: Sequence[Any]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes of images that have a text or a number each.

    Args:
        where: The data set, for messages.
        what: Says where the labels are, for messages.
        names: What the numbers from 0 stand for; empty where each value is a name itself.
        values: Of all images.

    Returns:
        Names of the classes that there are images of, numbers in their order, and `(images,)` int64
        indices into them.

    Raises:
        InputError: If some are missing, are lists or objects, or numbers without a name.
    """
    try:
        texts = [as_text(value) for value in values]
    except TypeError as error:
        raise InputError(f"{where} expects one label an image {what}, received {error}") from None
    known = {str(number): name for number, name in enumerate(names)}
    missing = sum(not text or (bool(names) and text not in known) for text in texts)
    if missing:
        raise InputError(
            f"{where} and the files beside it expect a label of each image {what}, "
            f"received {missing:,} of {len(texts):,} without; remove the files of such images"
        )
    used = set(texts)
    by_number = int if all(text.isdecimal() for text in used) else None
    order = [text for text in known if text in used] if names else sorted(used, key=by_number)
    index = {text: label for label, text in enumerate(order)}
    labels = np.fromiter((index[text] for text in texts), np.int64, len(texts))
    return tuple(known.get(text, text) for text in order), labels

"""The images that a command names: files, folders, patterns, standard input."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipelines import standard_input
from pipelines.terminal import complain
from transfer.errors import InputError
from transfer.images.archives import FolderFiles, open_listing
from transfer.images.file_names import choose_images, is_hidden, kinds_in_words
from transfer.images.imageset import EncodedFiles, ImageSet


def given_images(words: tuple[str, ...]) -> ImageSet:
    """What --images names, standard input included.

    Raises:
        InputError: As `find_images` and `read_images`; or if an image comes with other paths.
    """
    if standard_input.NAME not in words:
        return unlabelled(find_images(words))
    given = standard_input.read_images()
    others = [word for word in words if word != standard_input.NAME]
    if isinstance(given, tuple):
        return unlabelled(find_images((*others, *given)))
    if others:
        raise InputError(
            f"--images expects an image on standard input alone, received {others[0]!r} as well; "
            "save the image, or give paths on standard input"
        )
    return one_image(given.content)


def find_images(patterns: tuple[str, ...]) -> list[Path]:
    """Image files behind paths, folders and patterns, each once, in the order given.

    A file that is named is taken, whatever it is called. Of folders and of what patterns find, what
    is no image or hidden is left out, and said to be on stderr.

    Raises:
        InputError: If nothing is given, or something given holds no image file.
    """
    if not patterns:
        raise InputError("expected images: files, folders or patterns after --images")
    paths: dict[Path, None] = {}
    left_out: Counter[str] = Counter()
    for pattern in patterns:
        found, others = _found(Path(pattern))
        if not found:
            there = f" but {kinds_in_words(others)}" if others else ""
            raise InputError(f"expected images at {pattern!r}, found none{there}; check the path")
        paths.update(dict.fromkeys(found))
        left_out += others
    if left_out:
        complain(f"predict: left out {kinds_in_words(left_out)}")
    return list(paths)


def _found(pattern: Path) -> tuple[list[Path], Counter[str]]:
    """Images at a path or pattern, and how many other files of each kind."""
    if pattern.is_dir():
        return _chosen(pattern, open_listing(pattern).files)
    if pattern.exists():
        return [pattern], Counter()
    images: set[Path] = set()
    left_out: Counter[str] = Counter()
    for match in set(_matches(Path(), pattern.parts)):
        files = open_listing(match).files if match.is_dir() else [""]
        found, others = _chosen(match.parent, (f"{match.name}/{file}" for file in files))
        images.update(found)
        left_out += others
    return sorted(images), left_out


def _chosen(folder: Path, files: Iterable[str]) -> tuple[list[Path], Counter[str]]:
    chosen = choose_images([file.rstrip("/") for file in files])
    return sorted(folder / name for name in chosen.images), chosen.left_out


def _matches(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What a pattern finds below a folder; parts that are there as they stand are no patterns."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if (folder / first).exists():
        found = [first]
    elif first != "**":
        found = glob.glob(first, root_dir=folder)  # noqa: PTH207 (it can be told where to look)
    else:
        below = open_listing(folder).folders if rest and folder.is_dir() else []
        found = ["", *(name for name in below if not is_hidden(name))]
    for name in found:
        yield from _matches(folder / name, rest)


def unlabelled(paths: list[Path]) -> ImageSet:
    """An image set over single files, without labels."""
    names = [str(path) for path in paths]
    return _unlabelled(names, FolderFiles(Path(), names))


def one_image(content: bytes) -> ImageSet:
    """An image set over one encoded image that is in no file, whose id is `-`."""
    return _unlabelled([standard_input.NAME], standard_input.GivenImage(content))


def _unlabelled(names: list[str], source: EncodedFiles) -> ImageSet:
    return ImageSet(
        ids=np.array(names, object),
        labels=np.zeros(len(names), np.int64),
        class_names=(),
        split=np.full(len(names), "test"),
        source=source,
        members=np.arange(len(names)),
    )

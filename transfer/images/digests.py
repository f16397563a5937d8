"""Digests of files and of images: the sha256 of their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.errors import InputError
from transfer.images.remote import RemoteFile, RemoteFolder
from transfer.machine.processors import processors

if TYPE_CHECKING:
    from transfer.images.imageset import EncodedFiles, ImageSet

UNREADABLE = "unreadable"
"""Stands in place of the digest of a file that cannot be read."""

File = str | Path | RemoteFile
"""Where a file is. To make a `Path` takes longer than to ask the disk for its state."""

FileDigests = Callable[[Sequence[File]], list[str]]
"""Takes paths of files, and returns the sha256 of each file's bytes, in hexadecimal, or
`UNREADABLE` where it cannot be read, in the order of the paths. Raises no OSError."""

_THREADS = min(8, processors())
_CHUNK = 64  # files per task: with one, small files took three times as long as without threads
_AHEAD = 64  # tasks at a time, of which nothing is kept but digests
_LARGE = 1 << 16  # bytes of a file in an archive from which on threads are quicker
_BLOCK = 1 << 18  # bytes
_NO_DIGEST = bytes(32)


def file_digest(path: File) -> str:
    """Returns the sha256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: If it cannot be read.
    """
    sha256 = hashlib.sha256()
    # Not hashlib.file_digest: the buffer that it zeroes first costs more than a small file.
    file_path = Path(path) if isinstance(path, str) else path
    with file_path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
    return sha256.hexdigest()


def file_digests(paths: Sequence[File]) -> list[str]:
    """Reads all the files, in a few threads; see `FileDigests`."""
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_THREADS, "digest") as pool:
        return list(chain.from_iterable(pool.map(_digests_or_unreadable, chunks)))


def required_digest(path: Path, digests_of: FileDigests = file_digests) -> str:
    """Returns the digest of a file that, unlike an image, nothing can do without.

    Raises:
        InputError: If it cannot be read.
    """
    (sha256,) = digests_of([path])
    if sha256 != UNREADABLE:
        return sha256
    try:
        return file_digest(path)  # to learn the reason
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from error


def files_in(folder: Path | RemoteFolder, names: Iterable[str]) -> list[File]:
    """Where the files of a folder are.

    Args:
        folder: Of them all.
        names: POSIX paths below it.
    """
    if isinstance(folder, RemoteFolder):
        return [folder / name for name in names]
    above = os.path.join(folder, "")  # noqa: PTH118 (a path, and a separator)
    return [above + name for name in names]


def digest_of_files(paths: Sequence[File], names: Sequence[str], digests_of: FileDigests) -> str:
    """Returns the sha256, in hexadecimal, of files' names with the sha256 of each.

    Args:
        paths: The files.
        names: What each is called, wherever it lies; their order counts.
        digests_of: Digests the files.
    """
    lines = [f"{sha256}  {name}\n" for name, sha256 in zip(names, digests_of(paths), strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def image_digests(
    images: ImageSet,
    digests_of: FileDigests = file_digests,
    look: Callable[[str, bytes], None] = lambda id, data: None,
) -> np.ndarray:
    """Returns a digest of each image, which says nothing of its id, place or label.

    Where the images are encoded files, it is the sha256 of the file's bytes, the same in a folder
    and in any archive. Where they are an array, it is the sha256 of a tag, the shape and the
    pixels; no image file begins with that tag, so the two kinds never meet.

    A compressed tar was digested as it was listed. Another archive is read once, in row order; one
    of large images, that need not be read forward, by a few threads.

    Args:
        images: Of any source.
        digests_of: Digests the files of a folder; one that remembers them saves reading them.
        look: Called with the id and the bytes of each file of an archive that is read for this, by
            several threads, not always in order.

    Returns:
        `(rows, 32)` uint8; zeros where a file cannot be read.

    Raises:
        InputError: If an archive has changed since it was listed.
    """
    # An ImageSet is here, so this costs nothing more.
    from transfer.images.archives import FolderFiles, TarFiles

    source = images.source
    if isinstance(source, TarFiles) and source.digests is not None:
        return source.digests[images.members]
    found: Iterable[bytes]
    if isinstance(source, np.ndarray):
        found = (_pixels_digest(source[member]) for member in images.members)
    elif isinstance(source, FolderFiles):
        paths = files_in(source.root, (source.names[member] for member in images.members))
        found = (_NO_DIGEST if d == UNREADABLE else bytes.fromhex(d) for d in digests_of(paths))
    else:
        found = _archived_digests(source, images, look)
    return np.fromiter(found, "S32", len(images)).view(np.uint8).reshape(-1, 32)


def _digests_or_unreadable(paths: Sequence[File]) -> list[str]:
    digests = []
    for path in paths:
        try:
            digests.append(file_digest(path))
        except OSError:
            digests.append(UNREADABLE)
    return digests


def _pixels_digest(pixels: np.ndarray) -> bytes:
    shape = "x".join(str(length) for length in pixels.shape)
    return hashlib.sha256(f"pixels {shape}\0".encode() + pixels.tobytes()).digest()


def _archived_digests(
    source: EncodedFiles, images: ImageSet, look: Callable[[str, bytes], None]
) -> Iterator[bytes]:
    num_bytes = 0

    def digest(image: tuple[str, Callable[[], bytes]]) -> bytes:
        nonlocal num_bytes
        id, reader = image
        try:
            data = reader()
        except OSError:
            return _NO_DIGEST
        look(id, data)
        num_bytes += len(data)
        return hashlib.sha256(data).digest()

    with closing(source.readers(images.members)) as readers:
        found = zip(images.ids, readers, strict=True)
        yield from map(digest, islice(found, _CHUNK))
        # What is read forward is in memory when it comes; small files go slower with threads.
        if source.sequential or num_bytes < _CHUNK * _LARGE:
            yield from map(digest, found)
            return
        with ThreadPoolExecutor(_THREADS, "digest") as pool:
            while chunks := [some for _ in range(_AHEAD) if (some := [*islice(found, _CHUNK)])]:
                digested = pool.map(lambda some: [*map(digest, some)], chunks)
                yield from chain.from_iterable(digested)

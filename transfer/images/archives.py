"""The files of a folder, a zip or a tar: listed by name, read in place, never unpacked to disk.

A compressed tar can only be read from its beginning, so that each look at it costs all of it. What
one pass can tell, the places, digests and heads of its files, is hence taken in the first, and
whoever keeps that needs no other.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import tarfile
import threading
import zipfile
import zlib
from array import array
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np

from transfer.errors import InputError
from transfer.images.decoding import BadImage, check_head
from transfer.images.file_names import is_image
from transfer.images.imageset import EncodedFiles
from transfer.images.remote import RemoteFolder
from transfer.images.texts import GrowingTexts
from transfer.images.zip_names import names_of

Compression = Literal["gz", "xz", "bz2"]
Kind = Literal["folder", "zip", "tar", "gz", "xz", "bz2"]

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bz2"),
)
_OPENERS = {"gz": gzip.GzipFile, "xz": lzma.LZMAFile, "bz2": bz2.BZ2File}
_DAMAGE = (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error)
_ZIP_DAMAGE = (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError)


@dataclass(frozen=True)
class Listing:
    """The files of a folder or an archive.

    Attributes:
        path: The folder or archive itself.
        files: POSIX paths below it, without empty and "." components, in the order of storage;
            a file's place among them is its member number.
        folders: POSIX paths of the folders that are named there, empty ones too.
        contents: Reads the files by member number.
    """

    path: Path | RemoteFolder
    files: Sequence[str]
    folders: list[str]
    contents: EncodedFiles


def kind_of(path: Path | RemoteFolder) -> Kind:
    """Says what lies at a path, by its first bytes.

    Raises:
        InputError: If nothing lies there, or neither a folder nor a zip or tar archive.
    """
    if isinstance(path, RemoteFolder) or path.is_dir():
        return "folder"
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if kind := next((kind for magic, kind in _MAGIC if head.startswith(magic)), None):
            return kind
        if tarfile.is_tarfile(path):
            return "tar"
    except OSError as error:
        raise InputError(
            f"expected a folder or an archive of images at {str(path)!r}: {error.strerror}"
        ) from error
    raise InputError(
        f"{str(path)!r} is neither a folder nor a zip or tar (gz, xz, bz2) archive: "
        "give a folder with one folder of images per class, or an archive of one"
    )


def open_listing(path: Path | RemoteFolder) -> Listing:
    """Lists the files of a folder or an archive.

    A compressed tar is decompressed once to the end, so damage anywhere in it is found here.

    Raises:
        InputError: If the path is missing, no known archive, damaged, encrypted, or holds links
            in place of files. One line.
    """
    if isinstance(path, RemoteFolder):
        files = list(path.infos)
        return Listing(path, files, [], FolderFiles(path, files))
    kind = kind_of(path)
    try:
        if kind == "folder":
            return _list_folder(path)
        if kind == "zip":
            return _list_zip(path)
        return _list_tar(path, None if kind == "tar" else kind)
    except (*_ZIP_DAMAGE, *_DAMAGE) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{str(path)!r} cannot be read to its end ({reason}): "
            "it is damaged or incomplete, fetch or pack it again"
        ) from error


@dataclass(frozen=True)
class FolderFiles:
    """Files below a folder."""

    root: Path | RemoteFolder
    names: Sequence[str]
    sequential: bool = False

    def readers(self, members: np.ndarray) -> Generator[Callable[[], bytes], None, None]:
        """See `EncodedFiles`."""
        for member in members:
            yield (self.root / self.names[member]).read_bytes


class ZipFiles:
    """Members of a zip, read at random through one handle.

    The handle is closed when the object is let go.
    """

    sequential = False

    def __init__(self, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]):
        self._archive = archive
        self._members = members
        self._lock = threading.Lock()  # ZipFile counts its open members without one

    def readers(self, members: np.ndarray) -> Generator[Callable[[], bytes], None, None]:
        """See `EncodedFiles`."""
        for member in members:
            yield partial(self._read, self._members[member])

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        try:
            with self._lock:
                return self._archive.read(member)
        except (*_ZIP_DAMAGE, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


@dataclass(frozen=True)
class TarFiles:
    """Members of a tar: at random in a plain one, only forward in a compressed one.

    Attributes:
        path: The archive.
        compression: How it is compressed; None is a plain tar.
        offsets: `(files,)` int64: where each file's data begins in the uncompressed tar, in bytes.
        sizes: `(files,)` int64, in bytes.
        digests: `(files, 32)` uint8, of a compressed tar: the sha256 of each file that is named as
            images are, zeros for the others. None for a plain one.
        bad_heads: Of a compressed tar: why some of them are none, by member number, as `check_head`
            says it.
    """

    path: Path
    compression: Compression | None
    offsets: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray | None = None
    bad_heads: Mapping[int, str] = field(default_factory=dict)

    @property
    def sequential(self) -> bool:
        """True for a compressed tar."""
        return self.compression is not None

    def subset(self, members: np.ndarray) -> TarFiles:
        """Returns some of the files, numbered anew; `(files,)` increasing member numbers."""
        numbered = enumerate(members.tolist())
        return replace(
            self,
            offsets=self.offsets[members],
            sizes=self.sizes[members],
            digests=None if self.digests is None else self.digests[members],
            bad_heads={new: self.bad_heads[old] for new, old in numbered if old in self.bad_heads},
        )

    def readers(self, members: np.ndarray) -> Generator[Callable[[], bytes], None, None]:
        """See `EncodedFiles`."""
        if self.compression is None:
            for member in members:
                yield partial(self.read, member)
            return
        with _open_tar(self.path, self.compression) as stream:
            for member in members:
                try:
                    data = _read_at(stream, self.offsets[member], self.sizes[member])
                except _DAMAGE as error:
                    raise InputError(
                        f"{str(self.path)!r} has changed since it was listed ({error}): run again"
                    ) from error
                yield partial(bytes, data)

    def read(self, member: int) -> bytes:
        """Returns the bytes of one file of a plain tar.

        Raises:
            OSError: If it cannot be read.
        """
        with self.path.open("rb") as file:
            return _read_at(file, self.offsets[member], self.sizes[member])


class _StrictTarInfo(tarfile.TarInfo):
    """Makes an error of what tarfile takes for the archive's end: damage in the middle of it."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the end-of-archive marker
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"at byte {archive.offset}: {error}") from error


def _list_folder(root: Path) -> Listing:
    files: list[str] = []
    folders: list[str] = []
    identities: dict[str, frozenset[tuple[int, int]]] = {"": frozenset([_identity(root)])}

    def refuse(error: OSError) -> None:
        raise InputError(f"folder {str(error.filename)!r} cannot be listed: {error.strerror}")

    for where, inside, names in os.walk(root, onerror=refuse, followlinks=True):
        relative = os.path.relpath(where, root).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        above = identities.pop(prefix)
        entered = []
        for name in sorted(inside):
            identity = _identity(Path(where, name))
            if identity not in above:  # else a link back to a folder that this one lies in
                entered.append(name)
                folders.append(prefix + name)
                identities[f"{prefix}{name}/"] = above | {identity}
        inside[:] = entered
        files.extend(prefix + name for name in sorted(names))
    return Listing(root, files, folders, FolderFiles(root, files))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _list_zip(path: Path) -> Listing:
    archive = zipfile.ZipFile(path)
    members = archive.infolist()
    files: dict[str, zipfile.ZipInfo] = {}
    folders: dict[str, None] = {}
    for name, member in zip(names_of(members), members, strict=True):
        if name.endswith("/"):
            folders[_normal(name)] = None
        else:
            files[_normal(name)] = member
    folders.pop("", None)
    if locked := next((name for name, member in files.items() if member.flag_bits & 1), None):
        raise InputError(f"{str(path)!r} is encrypted ({locked!r}): unpack it and give the folder")
    return Listing(path, list(files), list(folders), ZipFiles(archive, list(files.values())))


def _list_tar(path: Path, compression: Compression | None) -> Listing:
    folders: list[str] = []
    # There may be millions: nothing is kept of each but its name and two numbers.
    names, hashes, numbers = GrowingTexts(), array("q"), array("q")
    digests, bad_heads = bytearray(), dict[int, str]()
    with (
        _open_tar(path, compression) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16, tarinfo=_StrictTarInfo) as archive,
    ):
        for member in archive:
            archive.members.clear()  # type: ignore[attr-defined]  # keeps all it has seen
            name = _normal(member.name)
            if member.isdir():
                folders.extend([name] if name else [])  # "./", by which many a tar begins
            elif member.islnk() or member.issym() or member.issparse():
                raise InputError(
                    f"{str(path)!r} holds a link or sparse file in place of an image ({name!r}): "
                    "pack it again with tar --dereference --hard-dereference"
                )
            elif member.isreg():
                if compression:
                    digest, reason = bytes(32), ""
                    if is_image(name):
                        file = cast(IO[bytes], archive.extractfile(member))
                        digest, reason = _look_at(file.read())
                    digests += digest
                    if reason:
                        bad_heads[len(names)] = reason
                names.append(name)
                hashes.append(hash(name))
                numbers.extend((member.offset_data, member.size))
        while stream.read(1 << 16):  # the checksum is behind the last byte
            pass
    files, places = names.whole(), np.frombuffer(numbers, np.int64).reshape(-1, 2)
    contents = TarFiles(path, compression, places[:, 0], places[:, 1])
    if compression:
        of_files = np.frombuffer(digests, np.uint8).reshape(-1, 32)
        contents = replace(contents, digests=of_files, bad_heads=bad_heads)
    if len(np.unique(hashes)) < len(files):
        last = {name: place for place, name in enumerate(files)}
        kept = np.array(sorted(last.values()))  # of two with one name the later, as in unpacking
        files, contents = files[kept], contents.subset(kept)
    return Listing(path, files, folders, contents)


def _look_at(content: bytes) -> tuple[bytes, str]:
    """The digest of what is named as an image, and why it is none, if it is none."""
    try:
        check_head(content, "")
        reason = ""
    except BadImage as error:
        reason = error.reason
    return hashlib.sha256(content).digest(), reason


def _open_tar(path: Path, compression: Compression | None) -> IO[bytes]:
    return cast(IO[bytes], _OPENERS[compression](path)) if compression else path.open("rb")


def _read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(int(offset), io.SEEK_SET)
    data = file.read(int(size))
    if len(data) != size:
        raise OSError(f"expected {size} bytes, received {len(data)}")
    return data


def _normal(name: str) -> str:
    """A member's path below the archive, wherever unpacking might have put it."""
    return posixpath.normpath(f"//{name}").lstrip("/")

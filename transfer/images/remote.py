"""Files behind an address such as s3://bucket/photos, through the package fsspec."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time_ns
from typing import Any

from transfer.errors import InputError
from transfer.images.downloads import downloaded

_OF_CONTENT = (
    *("ETag", "etag", "e_tag", "md5Hash", "md5", "content_md5", "Content-MD5", "crc32c"),
    *("checksum", "Digest", "sha256", "blob_id", "generation", "version_id", "VersionId"),
)
"""By what file systems know a content, each by its own name."""
_TIMES = (
    *("mtime", "modified", "LastModified", "last_modified", "Last-Modified", "updated", "created"),
)
SETTLED = 2_000_000_000
"""Ns: a file's clock may tick as slowly, so that a later change may have the same time."""
_UNDATED = 1 << 63


def is_address(data: str) -> bool:
    """Whether this is an address and no local path."""
    return "://" in data


@dataclass(frozen=True)
class RemoteFile:
    """One file; understands what `pathlib.Path` is asked where images and digests are read.

    Attributes:
        filesystem: fsspec's.
        path: As the file system has it.
        info: What the file system says of it; empty where there is no such file.
    """

    filesystem: Any
    path: str
    info: Mapping[str, Any]

    def __str__(self) -> str:
        return str(self.filesystem.unstrip_protocol(self.path))

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return bool(self.info)

    def read_bytes(self) -> bytes:
        """Reads it.

        Raises:
            OSError: If it cannot be read.
        """
        with _one_kind_of_error():
            return self.filesystem.cat_file(self.path)

    def open(self, mode: str = "rb", buffering: int = -1) -> io.BytesIO:
        """Reads all of it, for in many requests it takes longer.

        Raises:
            OSError: If it cannot be read.
        """
        return io.BytesIO(self.read_bytes())

    def state(self) -> tuple[str, int]:
        """What changes with the content, and when it last did.

        Returns:
            64 hexadecimal digits, "" where the file system says nothing that would tell, and ns
            since 1970, 0 where something better than times tells.
        """
        told = {name: str(self.info[name]) for name in _OF_CONTENT if self.info.get(name)}
        times = {} if told else {n: self.info[n] for n in _TIMES if self.info.get(n)}
        if not told and not times:
            return "", 0
        said = told | {name: str(time) for name, time in times.items()}
        said["size"] = str(self.info.get("size"))
        text = json.dumps(said, sort_keys=True)
        changed = max(map(_nanoseconds, times.values()), default=0)
        return hashlib.sha256(text.encode()).hexdigest(), changed


@dataclass(frozen=True)
class RemoteFolder:
    """All files below an address; `folder / name` is one of them.

    Attributes:
        address: As the user gave it.
        filesystem: fsspec's.
        path: As the file system has it.
        infos: What the file system says of each file, by its POSIX path below the folder.
    """

    address: str
    filesystem: Any
    path: str
    infos: Mapping[str, Mapping[str, Any]]

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> RemoteFile:
        return RemoteFile(
            self.filesystem, posixpath.join(self.path, name), self.infos.get(name, {})
        )


def list_folder(address: str) -> RemoteFolder:
    """Lists the files below an address, in order of name.

    Raises:
        InputError: If fsspec or its part for such addresses is missing, it cannot be listed, or
            nothing is there.
    """
    filesystem, path = _located(address)
    with _refused(address):
        found = filesystem.find(path, detail=True)
    root = path.rstrip("/") + "/"
    infos = {name.removeprefix(root): info for name, info in sorted(found.items()) if root in name}
    if not infos:
        raise InputError(
            f"expected files below {address}, received none: check the address; archives' names "
            "end in .zip, .tar, .tar.gz and the like"
        )
    return RemoteFolder(address, filesystem, path, infos)


def local_copy(address: str) -> Path:
    """Fetches one file, unless the copy of an earlier time is of the same content.

    It lies where Keras keeps what it downloads, one of each address.

    Raises:
        InputError: If fsspec or its part for such addresses is missing, or the file cannot be
            fetched.
    """
    filesystem, path = _located(address)
    with _refused(address):
        file = RemoteFile(filesystem, path, filesystem.info(path))
        state, changed = file.state()
        if changed > time_ns() - SETTLED:
            state = ""
        return downloaded(address, state, lambda to: filesystem.get_file(path, str(to)))


def _located(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise InputError(
            f"{address} expects the package fsspec, found none: pip install cached-transfer[remote]"
        ) from None
    try:
        filesystem, path = fsspec.url_to_fs(address)
        filesystem.invalidate_cache()  # what was listed before may have changed
        return filesystem, path
    except ImportError as error:  # of one kind of address, such as s3fs
        raise InputError(f"{address} expects another package: {error}") from None
    except Exception as error:  # As many kinds as there are file systems.
        raise InputError(f"{address} cannot be opened: {_in_a_line(error)}") from error


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # Some file systems have their own.
        raise OSError(_in_a_line(error)) from error


@contextmanager
def _refused(address: str) -> Iterator[None]:
    try:
        with _one_kind_of_error():
            yield
    except OSError as error:
        raise InputError(
            f"{address} cannot be read: {_in_a_line(error)}; check the address, and who may read it"
        ) from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _nanoseconds(time: Any) -> int:
    """Ns since 1970; of a text that is no time known here, one that is never past."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime) if isinstance(time, str) else ():
        with suppress(ValueError):
            time = parse(time)
            break
    seconds = time.timestamp() if isinstance(time, datetime) else time
    return int(seconds * 1e9) if isinstance(seconds, int | float) else _UNDATED

"""CIFAR-10 and CIFAR-100 in the layouts that their authors publish, python and binary.

Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from transfer.errors import InputError
from transfer.images.archives import Listing
from transfer.images.digests import FileDigests, digest_of_files
from transfer.images.imageset import ImageSet
from transfer.images.texts import Texts

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Release:
    """One published form of one data set.

    Attributes:
        title: Names it in an error.
        train: Files with training images, in order.
        test: File with test images.
        names: File with the class names.
        label_key: Pickles: the key of the labels (CIFAR-100: the fine ones); None for binaries.
        names_key: Pickles: the key of the class names.
        label_bytes: Binaries: bytes before each image, of which the last is the label.
    """

    title: str
    train: tuple[str, ...]
    test: str
    names: str
    label_key: bytes | None = None
    names_key: bytes = b""
    label_bytes: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read."""
        return (*self.train, self.test, self.names)


_FIVE = tuple(f"data_batch_{i}" for i in range(1, 6))
RELEASES = (
    Release("CIFAR-10", _FIVE, "test_batch", "batches.meta", b"labels", b"label_names"),
    Release("CIFAR-100", ("train",), "test", "meta", b"fine_labels", b"fine_label_names"),
    Release(
        "CIFAR-10 binary",
        tuple(f"{name}.bin" for name in _FIVE),
        "test_batch.bin",
        "batches.meta.txt",
        label_bytes=1,
    ),
    Release("CIFAR-100 binary", ("train.bin",), "test.bin", "fine_label_names.txt", label_bytes=2),
)


def find(listing: Listing) -> tuple[Release, str] | None:
    """Finds a CIFAR release among the files of a folder or archive.

    Returns:
        The release and the folder of its files ("" or a prefix that ends in "/"), or None.

    Raises:
        InputError: If there is one but files of it are missing.
    """
    known = tuple(name for release in RELEASES for name in release.files)
    present = {name for name in listing.files if name.endswith(known)}
    prefixes = {name[: name.rfind("/") + 1] for name in present}
    for prefix in sorted(prefixes):
        for release in RELEASES:
            if prefix + release.train[0] in present and prefix + release.test in present:
                missing = [name for name in release.files if prefix + name not in present]
                if missing:
                    raise InputError(
                        f"{str(listing.path)!r} holds an incomplete {release.title}: "
                        f"{', '.join(missing)} is missing, fetch it again"
                    )
                return release, prefix
    return None


def is_complete(folder: Path) -> bool:
    """Says whether a folder itself holds all files of a release."""
    return any(all((folder / name).is_file() for name in r.files) for r in RELEASES)


def digest(listing: Listing, release: Release, prefix: str, digests_of: FileDigests) -> str:
    """Returns the sha256, in hexadecimal, of the release's files' names with the sha256 of each.

    Args:
        listing: Where the files are, a folder.
        release: As `find` returns it.
        prefix: As `find` returns it.
        digests_of: Digests the files.
    """
    paths = [listing.path / (prefix + name) for name in release.files]
    return digest_of_files(paths, release.files, digests_of)


def load(listing: Listing, release: Release, prefix: str) -> ImageSet:
    """Loads a release into memory, training images first, ids `train/00042` and `test/00007`.

    Pickles are read by an unpickler that can build dicts, lists, numbers, strings and uint8
    arrays, and nothing else.

    Args:
        listing: Where the files are.
        release: As `find` returns it.
        prefix: As `find` returns it.

    Raises:
        InputError: If a file is not of the published layout, or its pickle asks for anything else.
    """
    raw = _read(listing, [prefix + name for name in release.files])
    where = f"{listing.path}/{prefix}"
    class_names = _class_names(release, raw[prefix + release.names], f"{where}{release.names}")
    parts = [
        _images(release, raw.pop(prefix + name), f"{where}{name}")
        for name in (*release.train, release.test)
    ]
    labels = np.concatenate([part_labels for _, part_labels in parts])
    if len(labels) and labels.max() >= len(class_names):
        raise InputError(
            f"{where!r}: label {labels.max()} has no name among {len(class_names)}, fetch it again"
        )
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    start = 0
    for pixels, _ in parts:
        stop = start + len(pixels)
        images[start:stop] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start = stop
    test = len(parts[-1][1])
    train = len(labels) - test
    counts = {"train": train, "test": test}
    return ImageSet(
        ids=Texts.of(f"{split}/{i:05}" for split, count in counts.items() for i in range(count)),
        labels=labels,
        class_names=class_names,
        split=np.array(["train"] * train + ["test"] * test, "<U5"),
        source=images,
        members=np.arange(len(labels)),
    )


def _read(listing: Listing, names: list[str]) -> dict[str, bytes]:
    members = np.sort([listing.files.index(name) for name in names])
    return {
        listing.files[member]: reader()
        for member, reader in zip(members, listing.contents.readers(members), strict=True)
    }


def _class_names(release: Release, data: bytes, where: str) -> tuple[str, ...]:
    try:
        if release.label_key is None:
            return tuple(data.decode().split())
        return tuple(name.decode() for name in _unpickle(data, where)[release.names_key])
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise _not_cifar(where, "holds no class names") from error


def _images(release: Release, data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(images, 3072)` uint8 pixels, channel by channel, and `(images,)` int64 labels."""
    if release.label_key is None:
        length = release.label_bytes + _PIXELS
        if len(data) % length:
            raise _not_cifar(where, f"{len(data)} bytes are no whole number of {length}")
        records = np.frombuffer(data, np.uint8).reshape(-1, length)
        return records[:, release.label_bytes :], records[:, release.label_bytes - 1].astype(int)
    batch = _unpickle(data, where)
    array = batch.get(b"data")
    pixels = array.values if isinstance(array, _Array) else np.empty(0, np.uint8)
    try:
        labels = np.array(batch[release.label_key], np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _not_cifar(where, "holds no labels") from error
    if pixels.shape != (len(labels), _PIXELS) or np.any(labels < 0):
        raise _not_cifar(where, f"{len(labels)} labels for images of shape {pixels.shape}")
    return pixels, labels


def _not_cifar(where: str, reason: str) -> InputError:
    return InputError(f"{where!r} is no CIFAR file as published ({reason}): fetch it again")


class _Array:
    """Stands in for `numpy.ndarray` while unpickling: takes uint8 values and nothing else."""

    def __init__(self, *arguments: Any):
        # numpy's `_reconstruct` passes a class, a shape and a type that the state then replaces
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array that is not uint8")
        order: Literal["C", "F"] = "F" if fortran_order else "C"
        self.values = np.frombuffer(data, np.uint8).reshape(tuple(shape), order=order)


class _DType:
    """Stands in for `numpy.dtype("uint8")`."""

    def __init__(self, code: str | bytes, *arguments: Any):
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of type {code!r}")

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and the like, which uint8 does not have


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Admits what the published files need, by stand-ins; imports and calls nothing else."""

    _ADMITTED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which was not run")
        return self._ADMITTED[module, name]


def _unpickle(data: bytes, where: str) -> dict[bytes, Any]:
    try:
        loaded = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # A malformed pickle can raise anything.
        raise _not_cifar(where, " ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(loaded, dict):
        raise _not_cifar(where, f"a {type(loaded).__name__}, not a dict")
    return {k.encode() if isinstance(k, str) else k: v for k, v in loaded.items()}

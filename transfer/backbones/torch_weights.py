"""Reads tensors from PyTorch's old, non-zip `.pth` files, without PyTorch.

Such a file is five pickles (magic number, protocol, system, the state dictionary, the storage
keys) and then, for each key, the number of elements as int64 and the elements themselves.
Source: `torch.serialization._legacy_load`, https://github.com/pytorch/pytorch.

A pickle may run any code when it is loaded. The unpickler here resolves the few names that a
state dictionary needs to functions of this file and refuses every other name.
"""

import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from transfer.errors import InputError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001

_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    num_elements: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage: shape, strides and offset in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, elements: np.ndarray) -> np.ndarray:
        """The tensor's values as an array of its own."""
        if 0 in self.shape:
            return np.zeros(self.shape, elements.dtype)
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        # as_strided checks nothing itself; strides of 0 could ask for any amount of memory.
        inside = min(self.offset, *self.strides, *self.shape, 0) == 0 and last < len(elements)
        if not inside or math.prod(self.shape) > len(elements):
            raise ValueError(f"a tensor of shape {self.shape} reaches outside its storage")
        byte_strides = tuple(stride * elements.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(elements[self.offset :], self.shape, byte_strides)
        return view.copy()


def _rebuild_tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool = False,
    backward_hooks: object = None,
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _StateUnpickler(pickle.Unpickler):
    """Admits tensors, their storages and ordered dictionaries; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        full_name = f"{module}.{name}"
        raise InputError(f"it names {full_name!r}, which a file of weights does not need")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, num_elements, view = pid
        if kind != "storage" or dtype not in _STORAGE_DTYPES.values() or view is not None:
            raise InputError("it holds something other than plain tensor storages")
        return _Storage(str(key), dtype, int(num_elements))


def read_torch_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads a state dictionary; executes nothing from the file.

    Args:
        path: A `.pth` file in PyTorch's old format, as `torch.save` wrote it before PyTorch 1.6
            and with `_use_new_zipfile_serialization=False` since.

    Returns:
        Tensor names to arrays, in the file's order, with the file's shapes and dtypes.

    Raises:
        InputError: If the file is missing, of another format, cut off, or names anything but
            tensors, storages and ordered dictionaries.
    """
    try:
        with path.open("rb") as file:
            return _read_state(file)
    except InputError as error:
        raise InputError(f"{path}: refused, {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read, {error.strerror}") from error
    except _MALFORMED as error:
        reason = " ".join(str(error).split())  # may quote the file's bytes, line ends included
        raise InputError(
            f"{path}: expected PyTorch weights in the old, non-zip .pth format, received something "
            f"else or a file cut off ({reason}); download it again or convert it to .weights.h5"
        ) from error


# What the pickle documentation and the checks above name for a file that is not what it should be.
_MALFORMED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


def _read_state(file: BinaryIO) -> dict[str, np.ndarray]:
    if _unpickle(file) != _MAGIC_NUMBER or _unpickle(file) != _PROTOCOL_VERSION:
        raise ValueError("wrong magic number")
    if not _unpickle(file)["little_endian"]:
        raise ValueError("big-endian")
    state, keys = _unpickle(file), _unpickle(file)
    if not isinstance(state, dict) or not all(isinstance(t, _Tensor) for t in state.values()):
        raise ValueError("no state dictionary of tensors")
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    elements = {key: _read_storage(file, storages[key]) for key in keys}
    return {name: tensor.read(elements[tensor.storage.key]) for name, tensor in state.items()}


def _unpickle(file: BinaryIO) -> Any:
    return _StateUnpickler(file).load()


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    num_elements = int.from_bytes(file.read(8), "little", signed=True)
    if num_elements != storage.num_elements or num_elements < 0:
        raise ValueError(f"storage {storage.key} says {num_elements} elements")
    data = file.read(num_elements * np.dtype(storage.dtype).itemsize)
    return np.frombuffer(data, storage.dtype, num_elements)

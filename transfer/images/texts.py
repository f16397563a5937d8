"""Many texts in little memory: ids and paths of millions of images, also where they lie on disk."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np

_BLOCK = 1 << 14  # texts at a time, of which there are objects


class Texts(Sequence[str]):
    """Texts as one run of UTF-8 and the places where each begins.

    Indexed and compared as a numpy array of objects is, which takes three times the memory and
    can't be mapped from a file: by a number, a slice, or an array of numbers or of bool.

    Args:
        encoded: `(bytes,)` uint8; what is no text is encoded as Python does names of such files.
        starts: `(texts + 1,)` int64: the byte at which each begins, and the end of the last.
    """

    def __init__(self, encoded: np.ndarray, starts: np.ndarray) -> None:
        self.encoded = encoded
        self.starts = starts

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Takes texts, one after the other, and keeps none of the objects."""
        if isinstance(texts, cls):
            return texts
        found = GrowingTexts()
        for text in texts:
            found.append(text)
        return found.whole()

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, place: int | np.integer) -> str: ...

    @overload
    def __getitem__(self, place: slice | np.ndarray | list[int]) -> Texts: ...

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice) and place.step in (None, 1):
            start, stop, _ = place.indices(len(self))
            return Texts(self.encoded, self.starts[start : max(start, stop) + 1])
        if isinstance(place, slice | np.ndarray | list):
            return self._taken(np.arange(len(self))[place])  # numpy's rules, and its errors
        number = range(len(self))[place]
        start, stop = self.starts[number : number + 2].tolist()
        return self.encoded[start:stop].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            starts = self.starts[first : first + _BLOCK + 1]
            encoded = self.encoded[starts[0] : starts[-1]].tobytes()
            places = (starts - starts[0]).tolist()
            for start, stop in pairwise(places):
                yield encoded[start:stop].decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> np.ndarray:  # type: ignore[override]
        return np.asarray(self) == np.asarray(other)

    def __ne__(self, other: object) -> np.ndarray:  # type: ignore[override]
        return np.asarray(self) != np.asarray(other)

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("expected leave to copy, for there is no array of objects yet")
        found = np.empty(len(self), object)
        found[:] = list(self)
        return found if dtype is None else found.astype(dtype)

    def tolist(self) -> list[str]:
        """All of them, as objects."""
        return list(self)

    def _taken(self, numbers: np.ndarray) -> Texts:
        lengths = np.diff(self.starts)[numbers]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        encoded = np.empty(starts[-1], np.uint8)
        for first in range(0, len(numbers), _BLOCK):
            block = slice(first, first + _BLOCK)
            start, stop = starts[first], starts[min(first + _BLOCK, len(numbers))]
            shift = np.repeat(self.starts[numbers[block]] - starts[:-1][block], lengths[block])
            encoded[start:stop] = self.encoded[np.arange(start, stop) + shift]
        return Texts(encoded, starts)


class GrowingTexts:
    """Texts that come one after the other, of which no objects are kept."""

    def __init__(self) -> None:
        self._encoded, self._starts = bytearray(), array("q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, text: str) -> None:
        """Adds one."""
        self._encoded += text.encode("utf-8", "surrogateescape")
        self._starts.append(len(self._encoded))

    def whole(self) -> Texts:
        """All of them; none can be added after that."""
        return Texts(np.frombuffer(self._encoded, np.uint8), np.frombuffer(self._starts, np.int64))


TextArray = Texts | np.ndarray
"""An array of str: objects, or where there may be millions `Texts`."""

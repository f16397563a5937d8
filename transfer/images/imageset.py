"""Images as ordered rows, streamed in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Protocol

import numpy as np

from transfer.errors import InputError
from transfer.images.decoding import (
    PLAIN,
    BadImage,
    Decoding,
    check_head,
    decode,
    decoded_size,
    resize,
)
from transfer.images.texts import TextArray
from transfer.machine.processors import processors

_THREADS = min(8, processors())
_CHUNK = 64  # files per task where each takes little more time than a task


class EncodedFiles(Protocol):
    """Encoded image files in a folder or an archive, numbered as members."""

    @property
    def sequential(self) -> bool:
        """True where reading goes only forward, so that a random read costs a pass."""
        ...

    def readers(self, members: np.ndarray) -> Generator[Callable[[], bytes], None, None]:
        """Yields one function per member that returns its bytes.

        The functions may be called in any thread and in any order; where `sequential`, the bytes
        are already read when the function is yielded.

        Args:
            members: `(count,)` int64 member numbers, strictly increasing where `sequential`.

        Raises:
            OSError: By the function, where this one file cannot be read.
            InputError: Where the archive as a whole cannot be read.
        """
        ...


@dataclass(frozen=True)
class Batch:
    """Some rows of an `ImageSet`.

    Attributes:
        rows: `(batch,)` int64 row numbers, increasing.
        images: RGB, pixel range 0-255: `(batch, height, width, 3)` uint8 in the set's native size,
            or float32 already resized to the `image_size` asked for.
        bad: The images that could not be decoded; their rows in `images` are zeros.
    """

    rows: np.ndarray
    images: np.ndarray
    bad: tuple[BadImage, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Ordered, labelled rows of images.

    Attributes:
        ids: `(rows,)` unique str.
        labels: `(rows,)` int64 indices into `class_names`.
        class_names: Names of the classes.
        split: `(rows,)` array of "train", "val" or "test".
        source: The pixels: `(count, height, width, 3)` uint8 RGB, or encoded files.
        members: `(rows,)` int64: where in `source` each row lies.
        decoding: What of encoded files' values become pixels.
        left_out: How many files were found beside them and left out, by kind: suffix or "hidden
            files", as `file_names.kinds_in_words` takes them.
    """

    ids: TextArray
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: np.ndarray
    source: np.ndarray | EncodedFiles
    members: np.ndarray
    decoding: Decoding = PLAIN
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses pixels that no backbone was trained on.

        Raises:
            InputError: If an array of them is not uint8; says the range that it has.
        """
        pixels = self.source
        if isinstance(pixels, np.ndarray) and pixels.dtype != np.uint8:
            span = f" from {pixels.min():g} to {pixels.max():g}" if pixels.size else ""
            raise InputError(
                f"expected uint8 pixels from 0 to 255, received {pixels.dtype}{span}; "
                "give them as they are in a file, multiplied by 255 if they were divided by it"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, rows: np.ndarray) -> ImageSet:
        """Returns the set of some rows.

        Args:
            rows: `(count,)` integer row numbers, strictly increasing.

        Raises:
            ValueError: If the rows do not increase or lie outside the set.
        """
        rows = np.asarray(rows, dtype=np.int64)
        outside = len(rows) and (rows[0] < 0 or rows[-1] >= len(self))
        if outside or np.any(np.diff(rows) <= 0):
            raise ValueError(f"rows must increase strictly within 0..{len(self) - 1}")
        return replace(
            self,
            ids=self.ids[rows],
            labels=self.labels[rows],
            split=self.split[rows],
            members=self.members[rows],
        )

    def with_ids(self, ids: Iterable[str]) -> ImageSet:
        """Returns the set of the rows with these ids, in its own order; others are no error."""
        # Not numpy's isin, which compares objects each with each: a minute for 60,000 of them.
        wanted = set(ids)
        return self.subset(np.flatnonzero([id in wanted for id in self.ids]))

    def read(self, row: int, wanted: tuple[int, int] | None = None) -> np.ndarray:
        """Returns one image, `(height, width, 3)` uint8 RGB in its own size.

        What will be resized to a size `wanted` may come smaller, see `decode`.

        In a compressed tar, which can only be read forward, the first call takes one pass that
        loads the encoded files of this set (not of the whole archive) into memory; later calls
        and streams are served from there.

        Raises:
            BadImage: If it cannot be decoded.
        """
        if isinstance(self.source, np.ndarray):
            return self.source[self.members[row]].copy()
        return decode(self._encoded(row), self.ids[row], self.decoding, wanted)

    def size(self, row: int) -> tuple[int, int]:
        """Height and width in pixels of what `read` returns, from the head of the file.

        Compressed tars are loaded as in `read`.

        Raises:
            BadImage: If the file cannot be read or is no image.
        """
        if isinstance(self.source, np.ndarray):
            return self.source.shape[1], self.source.shape[2]
        return decoded_size(self._encoded(row), self.ids[row])

    def bad_heads(self) -> list[BadImage]:
        """The images that are none by the heads of their files, in row order; nothing is decoded.

        Each file is read, by a few threads; a compressed tar is loaded as in `read`.
        """
        if isinstance(self.source, np.ndarray):
            return []
        chunks = [range(i, min(i + _CHUNK, len(self))) for i in range(0, len(self), _CHUNK)]
        with ThreadPoolExecutor(_THREADS, "heads") as pool:
            return list(chain.from_iterable(pool.map(self._bad_heads, chunks)))

    def stream(
        self,
        start: int = 0,
        stop: int | None = None,
        wanted: tuple[int, int] | None = None,
        apply: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Generator[tuple[int, np.ndarray | BadImage], None, None]:
        """Yields `(row, image)` in row order, decoded a few images ahead by a few threads.

        Memory does not grow with the number of rows. In a compressed tar every call decompresses
        from the beginning, so one long stream is cheaper than many short ones.

        Args:
            start: First row.
            stop: Row to stop before; None is the end.
            wanted: As in `read`.
            apply: Called with each image in the thread that decoded it.

        Yields:
            The row and its `(height, width, 3)` uint8 RGB image, or what `apply` made of it, or a
            `BadImage`.
        """
        rows = np.arange(len(self))[start:stop]
        tasks: Iterator[Callable[[], np.ndarray | BadImage]] = self._decoders(rows, wanted)
        if apply:
            tasks = (partial(_apply, apply, decoder) for decoder in tasks)
        with closing(_in_order(tasks, ahead=2 * _THREADS)) as images:
            yield from zip(rows.tolist(), images, strict=True)

    def batches(
        self,
        batch_size: int,
        image_size: tuple[int, int],
        rows: np.ndarray | None = None,
        boundary: int | None = None,
    ) -> Generator[Batch, None, None]:
        """Yields rows in batches, one batch decoded ahead.

        A batch travels as uint8 in the set's `native_size` where all its images have that size
        and the size is at most `image_size` in both dimensions (the model then resizes it on its
        device, and fewer bytes move); otherwise each image is resized by `resize` to float32.
        The two ways differ by float noise only, so values do not depend on the batching.

        Args:
            batch_size: Images in a batch; some may be smaller.
            image_size: `(height, width)` in pixels that the model wants.
            rows: Increasing row numbers; None is all.
            boundary: If given, no batch holds rows on both sides of a multiple of this number, so
                that the batches behind it are the same whatever came before.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, received {batch_size}")
        rows = np.arange(len(self)) if rows is None else rows
        spans = _spans(rows, batch_size, boundary)
        native = self.native_size
        if native and (native[0] > image_size[0] or native[1] > image_size[1]):
            native = None

        if native and isinstance(self.source, np.ndarray):
            for span in spans:
                yield Batch(span, self.source[self.members[span]])
            return

        def fit(image: np.ndarray) -> np.ndarray:
            return image if image.shape[:2] == native else resize(image, image_size)

        tasks = (partial(_apply, fit, decoder) for decoder in self._decoders(rows, image_size))
        with closing(_in_order(tasks, ahead=batch_size)) as images:
            for span in spans:
                yield _assemble(span, list(islice(images, len(span))), native, image_size)

    @cached_property
    def native_size(self) -> tuple[int, int] | None:
        """Height and width in pixels of the first readable image; None where there is none."""
        if isinstance(self.source, np.ndarray):
            return self.source.shape[1], self.source.shape[2]
        with closing(self._decoders(np.arange(len(self)))) as decoders:
            images = (decoder() for decoder in decoders)
            first = next((image for image in images if not isinstance(image, BadImage)), None)
        return None if first is None else (first.shape[0], first.shape[1])

    @cached_property
    def _loaded(self) -> list[Callable[[], bytes]]:
        assert not isinstance(self.source, np.ndarray)
        return list(self.source.readers(self.members))

    def _encoded(self, row: int) -> bytes:
        assert not isinstance(self.source, np.ndarray)
        if self.source.sequential:
            return _bytes_from(self._loaded[row], self.ids[row])
        (reader,) = self.source.readers(self.members[[row]])
        return _bytes_from(reader, self.ids[row])

    def _bad_heads(self, rows: range) -> list[BadImage]:
        bad = []
        for row in rows:
            try:
                check_head(self._encoded(row), self.ids[row])
            except BadImage as error:
                bad.append(BadImage(error.id, error.reason))
        return bad

    def _decoders(
        self, rows: np.ndarray, wanted: tuple[int, int] | None = None
    ) -> Generator[Callable[[], np.ndarray | BadImage], None, None]:
        """Yields one function per row that returns its image or, never raising it, a BadImage."""
        members = self.members[rows]
        if isinstance(self.source, np.ndarray):
            yield from (partial(self.source.__getitem__, member) for member in members)
        elif "_loaded" in self.__dict__:
            for row in rows:
                yield partial(self._decoded_or_bad, row, self._loaded[row], wanted)
        else:
            with closing(self.source.readers(members)) as readers:
                for row, reader in zip(rows, readers, strict=True):
                    yield partial(self._decoded_or_bad, row, reader, wanted)

    def _decoded_or_bad(
        self, row: int, reader: Callable[[], bytes], wanted: tuple[int, int] | None
    ) -> np.ndarray | BadImage:
        id = self.ids[row]
        try:
            return decode(_bytes_from(reader, id), id, self.decoding, wanted)
        except BadImage as bad:
            # A fresh one: the traceback of the raised one would keep the file's bytes alive.
            return BadImage(bad.id, bad.reason)


def _bytes_from(reader: Callable[[], bytes], id: str) -> bytes:
    try:
        return reader()
    except OSError as error:
        raise BadImage(id, f"cannot be read: {error.strerror or error}") from error


def _apply(
    fit: Callable[[np.ndarray], np.ndarray], decoder: Callable[[], np.ndarray | BadImage]
) -> np.ndarray | BadImage:
    image = decoder()
    return image if isinstance(image, BadImage) else fit(image)


def _in_order(
    tasks: Iterator[Callable[[], np.ndarray | BadImage]], ahead: int
) -> Generator[np.ndarray | BadImage, None, None]:
    """Runs tasks in a few threads, at most `ahead` beyond the one wanted; yields in order."""
    pending: deque[Future[np.ndarray | BadImage]] = deque()
    with ThreadPoolExecutor(_THREADS, "decode") as pool:
        try:
            for task in tasks:
                pending.append(pool.submit(task))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _spans(rows: np.ndarray, batch_size: int, boundary: int | None) -> list[np.ndarray]:
    """Cuts increasing row numbers into batches."""
    runs = [rows]
    if boundary:
        runs = np.split(rows, np.flatnonzero(np.diff(rows // boundary)) + 1)
    return [run[i : i + batch_size] for run in runs for i in range(0, len(run), batch_size)]


def _assemble(
    span: np.ndarray,
    images: list[np.ndarray | BadImage],
    native: tuple[int, int] | None,
    image_size: tuple[int, int],
) -> Batch:
    bad = tuple(image for image in images if isinstance(image, BadImage))
    good = [(i, image) for i, image in enumerate(images) if not isinstance(image, BadImage)]
    if native and all(image.dtype == np.uint8 for _, image in good):
        rows = np.zeros((len(span), *native, 3), np.uint8)
    else:
        rows = np.zeros((len(span), *image_size, 3), np.float32)
    for i, image in good:
        mixed = image.dtype == np.uint8 and rows.dtype != np.uint8
        rows[i] = resize(image, image_size) if mixed else image
    return Batch(span, rows, bad)

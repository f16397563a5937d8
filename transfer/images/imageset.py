"""Images as ordered rows: decoding, resizing, and streaming them in batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BytesIO
from itertools import islice
from typing import Protocol

import numpy as np
from PIL import ExifTags, Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""Names of image files end so, in any case."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_THREADS = min(8, os.cpu_count() or 1)

# Source: EXIF 2.3, tag 0x0112; the same table as PIL.ImageOps.exif_transpose, which is not
# used because it also rewrites the whole EXIF block and fails on the odd ones of real photographs.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(ValueError):  # noqa: N818 (named for what it is: the image, reported as data)
    """One image that cannot be read or decoded.

    Attributes:
        id: The image's id.
        reason: Why, in one line.
    """

    def __init__(self, id: str, reason: str):
        super().__init__(id, reason)
        self.id = id
        self.reason = " ".join(reason.split())

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"


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
        ids: `(rows,)` object array of unique str.
        labels: `(rows,)` int64 indices into `class_names`.
        class_names: Names of the classes.
        split: `(rows,)` array of "train", "val" or "test".
        source: The pixels: `(count, height, width, 3)` uint8 RGB, or encoded files.
        members: `(rows,)` int64: where in `source` each row lies.
    """

    ids: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: np.ndarray
    source: np.ndarray | EncodedFiles
    members: np.ndarray

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

    def read(self, row: int) -> np.ndarray:
        """Returns one image, `(height, width, 3)` uint8 RGB in its own size.

        In a compressed tar, which can only be read forward, the first call takes one pass that
        loads the encoded files of this set (not of the whole archive) into memory; later calls
        and streams are served from there.

        Raises:
            BadImage: If it cannot be decoded.
        """
        if isinstance(self.source, np.ndarray):
            return self.source[self.members[row]].copy()
        if self.source.sequential:
            return _decode_from(self._loaded[row], self.ids[row])
        (reader,) = self.source.readers(self.members[[row]])
        return _decode_from(reader, self.ids[row])

    def stream(
        self, start: int = 0, stop: int | None = None
    ) -> Generator[tuple[int, np.ndarray | BadImage], None, None]:
        """Yields `(row, image)` in row order, decoded a few images ahead by a few threads.

        Memory does not grow with the number of rows. In a compressed tar every call decompresses
        from the beginning, so one long stream is cheaper than many short ones.

        Args:
            start: First row.
            stop: Row to stop before; None is the end.

        Yields:
            The row and its `(height, width, 3)` uint8 RGB image in its own size, or a `BadImage`.
        """
        rows = np.arange(len(self))[start:stop]
        with closing(_in_order(self._decoders(rows), ahead=2 * _THREADS)) as images:
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

        tasks = (partial(_apply, fit, decoder) for decoder in self._decoders(rows))
        with closing(_in_order(tasks, ahead=batch_size)) as images:
            for span in spans:
                yield _assemble(span, list(islice(images, len(span))), native, image_size)

    @cached_property
    def native_size(self) -> tuple[int, int] | None:
        """Height and width in pixels of the first readable image; None where there is none."""
        if isinstance(self.source, np.ndarray):
            return self.source.shape[1], self.source.shape[2]
        with closing(self.stream()) as images:
            for _, image in images:
                if not isinstance(image, BadImage):
                    return image.shape[0], image.shape[1]
        return None

    @cached_property
    def _loaded(self) -> list[Callable[[], bytes]]:
        assert not isinstance(self.source, np.ndarray)
        return list(self.source.readers(self.members))

    def _decoders(self, rows: np.ndarray) -> Iterator[Callable[[], np.ndarray | BadImage]]:
        """Yields one function per row that returns its image or, never raising it, a BadImage."""
        members = self.members[rows]
        if isinstance(self.source, np.ndarray):
            yield from (partial(self.source.__getitem__, member) for member in members)
        elif "_loaded" in self.__dict__:
            for row in rows:
                yield partial(_decoded_or_bad, self._loaded[row], self.ids[row])
        else:
            with closing(self.source.readers(members)) as readers:
                for row, reader in zip(rows, readers, strict=True):
                    yield partial(_decoded_or_bad, reader, self.ids[row])


def decode(data: bytes, id: str) -> np.ndarray:
    """Decodes one JPEG, PNG, WebP, BMP or GIF file to RGB.

    - Grayscale, palette and 1-bit images: their values as RGB (1-bit: 0 and 255).
    - Alpha, or a transparent colour: composited on white.
    - CMYK: Pillow's plain conversion; colour profiles are not applied.
    - 16-bit grayscale: divided by 257 and rounded, so that 65535 becomes 255 (a transparent
      colour becomes white); 16 bits per channel of colour: the upper 8 bits, as Pillow reads them.
    - EXIF orientation: applied. An EXIF block that cannot be parsed says nothing and is ignored.
    - Animations: the first frame.
    - More pixels than `PIL.Image.MAX_IMAGE_PIXELS` (89 million): refused before decoding.

    Args:
        data: The file's bytes.
        id: Names the image in an error.

    Returns:
        `(height, width, 3)` uint8, RGB, pixel range 0-255.

    Raises:
        BadImage: If the data is truncated, too large or no such image.
    """
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            image.load()
            return np.array(_to_rgb(_upright(image)))
    except Image.UnidentifiedImageError:
        reason = "empty file" if not data else "no JPEG, PNG, WebP, BMP or GIF image"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"too many pixels, maybe a decompression bomb: {error}"
    except Exception as error:  # Pillow's decoders raise many kinds on malformed data.
        reason = str(error) or type(error).__name__
    raise BadImage(id, reason)


def resize(image: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes one image, antialiased and bilinear, without rounding.

    Equals `keras.layers.Resizing(antialias=True)` in float32 within 0.01 grey levels.

    Args:
        image: `(height, width, 3)` uint8, pixel range 0-255.
        image_size: `(height, width)` in pixels.

    Returns:
        `image_size + (3,)` float32, pixel range 0-255.
    """
    height, width = image_size
    if image.shape[:2] == (height, width):
        return image.astype(np.float32)
    resized = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        values = np.ascontiguousarray(image[..., channel])
        # Pillow makes floats of bytes ("F;8") in half the time that numpy takes for one channel.
        plane = Image.frombuffer("F", values.shape[::-1], values, "raw", "F;8", 0, 1)
        plane = plane.resize((width, height), Image.Resampling.BILINEAR)
        resized[..., channel] = np.asarray(plane)
    return resized


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # As many kinds as there are ways to write a broken EXIF block.
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grayscale; "I" in older Pillows, "I;16" in newer
        values = np.asarray(image).astype(np.float64)
        levels = np.rint(values.clip(0, 65535) / 257).astype(np.uint8)
        levels[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(levels).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _decode_from(reader: Callable[[], bytes], id: str) -> np.ndarray:
    try:
        data = reader()
    except OSError as error:
        raise BadImage(id, f"cannot be read: {error.strerror or error}") from error
    return decode(data, id)


def _decoded_or_bad(reader: Callable[[], bytes], id: str) -> np.ndarray | BadImage:
    try:
        return _decode_from(reader, id)
    except BadImage as bad:
        # A fresh one: the traceback of the raised one would keep the file's bytes alive.
        return BadImage(bad.id, bad.reason)


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

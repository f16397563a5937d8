"""Small pictures of images inside a page, as data URIs."""

import base64
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from pipelines.progress import progress
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet

SIDE = 96
"""Pixels of a thumbnail's longer side; images that are smaller stay as they are."""
QUALITY = 72
"""Of WebP."""


class Thumbnails:
    """Pictures of rows of a set of images, made in one pass over those that anybody wants.

    Args:
        images: Where the pixels are; without them there are no pictures.
    """

    def __init__(self, images: ImageSet | None) -> None:
        self._images = images
        self._wanted: set[int] = set()
        self._made: dict[int, str] = {}

    def want(self, rows: Iterable[int]) -> list[int]:
        """Notes rows whose pictures a part of the page shows; returns them."""
        rows = [int(row) for row in rows]
        self._wanted.update(rows)
        return rows

    def make(self) -> None:
        """Makes what is wanted; an image that cannot be read has no picture."""
        if self._images is None or not self._wanted:
            return
        rows = np.array(sorted(self._wanted))
        few = self._images.subset(rows)
        with progress("thumbnails", len(rows)) as update:
            for at, made in few.stream(wanted=(SIDE, SIDE), apply=encode):
                if not isinstance(made, BadImage):
                    self._made[int(rows[at])] = _as_uri(made)
                update(at + 1)

    def uri(self, row: int) -> str:
        """A picture as a data URI; empty where there is none."""
        return self._made.get(int(row), "")


def encode(image: np.ndarray) -> np.ndarray:
    """A thumbnail as the bytes of a WebP file.

    Args:
        image: `(height, width, 3)` uint8.

    Returns:
        `(bytes,)` uint8.
    """
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "webp", quality=QUALITY)
    return np.frombuffer(file.getvalue(), np.uint8)


def _as_uri(content: np.ndarray) -> str:
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode()

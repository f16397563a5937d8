"""What `--images -` reads from standard input: one encoded image, or the paths of many."""

import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from transfer.errors import InputError
from transfer.images.file_names import FORMATS
from transfer.images.formats import is_encoded_image
from transfer.names import shown

NAME = "-"
"""Stands for standard input among paths, and is the id of an image that comes from there."""


@dataclass(frozen=True)
class GivenImage:
    """The bytes of one image, as `transfer.images.imageset.EncodedFiles`."""

    content: bytes
    sequential: bool = False

    def readers(self, members: np.ndarray) -> Generator[partial[bytes], None, None]:
        """See `EncodedFiles`."""
        for _ in members:
            yield partial(bytes, self.content)


def read_images() -> "GivenImage | tuple[str, ...]":
    """Reads standard input to its end: an image, or paths, one a line or with NUL between them.

    Raises:
        InputError: If nothing comes, or a terminal would have to be typed at.
    """
    stream = sys.stdin
    if stream is None or stream.isatty():
        received = "nothing" if stream is None else "a terminal"
        raise InputError(
            f"--images - expects an image or paths on standard input, received {received}; use "
            "it as in: find photos -name '*.jpg' | transfer predict --images -"
        )
    content = stream.buffer.read()
    if is_encoded_image(content):
        return GivenImage(content)
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    paths = tuple(os.fsdecode(line) for line in lines if line)
    missing = next((path for path in paths if not Path(path).exists()), "")
    if missing or not paths:
        received = f"{shown(missing)[:80]!r}, where no file is" if missing else "nothing"
        raise InputError(
            f"--images - expects an image ({FORMATS}) or paths one a line on standard input, "
            f"received {received}"
        )
    return paths

"""Which files count as images, by their names, and which are hidden or kept by a system."""

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from transfer.images.texts import Texts
from transfer.names import shown

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx", ".jpf"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".dcm"),
)
"""Names of image files end so, in any case."""
FORMATS = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC, JPEG 2000, PPM or DICOM"
"""What they hold, in words."""

# A name with a dot in front, or what macOS, Synology, QNAP, Windows and ext file systems leave.
_HIDDEN = re.compile(
    r"/(?:\.(?!\.?(?:/|$))|(?:__MACOSX|@eaDir|#recycle|@Recycle|@Recently-Snapshot|\$RECYCLE\.BIN|"
    r"System Volume Information|lost\+found|Thumbs\.db|ehthumbs\.db|desktop\.ini)(?:/|$))",
    re.IGNORECASE,
)
_HIDDEN_KIND = "hidden files"
_BARE_KIND = "without a suffix"
_KINDS_SHOWN = 5


@dataclass(frozen=True)
class ChosenFiles:
    """Files, told apart by their names.

    Attributes:
        images: Paths of the images, in the order of the files; `Texts` where the files are.
        places: `(images,)` int64: the place of each among the files.
        left_out: How many files of each kind are left out: others by suffix, and hidden files
            that look like images.
    """

    images: Sequence[str]
    places: np.ndarray
    left_out: Counter[str]


def choose_images(paths: Sequence[str]) -> ChosenFiles:
    """Tells images from other files; POSIX paths below the folder in question."""
    found = array("q")  # there may be millions
    left_out: Counter[str] = Counter()
    for place, path in enumerate(paths):
        if is_hidden(path):
            left_out[_HIDDEN_KIND] += is_image(path)
        elif is_image(path):
            found.append(place)
        else:
            left_out[PurePosixPath(path).suffix.lower() or _BARE_KIND] += 1
    places = np.array(found, np.int64)
    images = paths[places] if isinstance(paths, Texts) else [paths[place] for place in found]
    return ChosenFiles(images, places, +left_out)


def is_image(path: str) -> bool:
    """Whether a file is named as images are."""
    return path.lower().endswith(SUFFIXES)


def is_hidden(path: str) -> bool:
    """Whether a file or folder, or one that it lies in, is hidden or kept by a system.

    Args:
        path: POSIX path; `..` hides nothing.
    """
    return _HIDDEN.search(f"/{path}") is not None


def without_suffix(path: str) -> str:
    """A path without the suffix of an image, where it has one: `a.1` is whole, `a.1.JPG` is not."""
    return path.rpartition(".")[0] if is_image(path) else path


def kinds_in_words(left_out: Mapping[str, int]) -> str:
    """Counts of kinds, the most frequent first: `3 .txt, 1 .mp4, 2 hidden files`."""
    kinds = dict(sorted(left_out.items(), key=lambda kind: (-kind[1], kind[0])))
    hidden = kinds.pop(_HIDDEN_KIND, 0)
    words = [f"{count:,} {shown(kind)}" for kind, count in kinds.items()]
    if more := sum([*kinds.values()][_KINDS_SHOWN:]):
        words[_KINDS_SHOWN:] = [f"{more:,} of other kinds"]
    if hidden:
        words.append(f"{hidden:,} {_HIDDEN_KIND if hidden > 1 else 'hidden file'}")
    return ", ".join(words)

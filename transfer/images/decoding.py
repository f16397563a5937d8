"""Encoded image files to RGB pixels, and pixels to another size."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin

from transfer.errors import DataWarning, InputError
from transfer.images.dicom import decode_dicom, dicom_size, is_dicom
from transfer.images.file_names import FORMATS
from transfer.images.formats import formats_for
from transfer.images.levels import check_window, to_bytes
from transfer.images.metadata import without_metadata
from transfer.names import shown

P = ParamSpec("P")
T = TypeVar("T")

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
_SIDEWAYS = (5, 6, 7, 8)


VERSION = 1
"""Raised by every change of what pixels a file decodes to."""
SCALED_ABOVE = 2
"""A JPEG is decoded at half, a quarter or an eighth of its size as long as that leaves so many
times the size that is wanted."""

FEW_LEVELS = 65536 // 8
"""Grey values all below it keep at most 32 levels when 16 bits become 8."""


@dataclass(frozen=True)
class Decoding:
    """What of a file's values become pixels.

    Attributes:
        window: Of grey values of more than 8 bits, see `levels.to_bytes`.
        page: Which image of a file of several, from 1.
    """

    window: str = "full"
    page: int = 1

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        check_window(self.window)
        if self.page < 1:
            raise InputError(f"--page expects at least 1, received {self.page}")

    def in_words(self) -> str:
        """With the version of the code: what decides on the pixels of a file."""
        return f"{VERSION}, window {self.window}, page {self.page}"


PLAIN = Decoding()


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
        return shown(f"{self.id}: {self.reason}")


def _whatever_its_metadata(
    read: Callable[Concatenate[bytes, P], T],
) -> Callable[Concatenate[bytes, P], T]:
    """Has a file that cannot be read with its metadata read without: only pixels count."""

    @wraps(read)
    def read_again(data: bytes, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(data, *args, **kwargs)
        except BadImage:
            bare = without_metadata(data)
            if bare == data:
                raise
        return read(bare, *args, **kwargs)

    return read_again


@_whatever_its_metadata
def decode(
    data: bytes,
    id: str,
    decoding: Decoding = PLAIN,
    wanted: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decodes one image file to RGB, of any format that `formats_for` lists, or DICOM.

    - Grayscale, palette and 1-bit images: their values as RGB (1-bit: 0 and 255).
    - Alpha, or a transparent colour: composited on white.
    - CMYK: Pillow's plain conversion; colour profiles are not applied.
    - Grayscale of more than 8 bits: see `levels.to_bytes`; by default 16 bits are divided by 257
      and rounded, so that 65535 becomes 255 (a transparent colour becomes white). 16 bits per
      channel of colour: the upper 8 bits, as Pillow reads them.
    - EXIF orientation: applied. An EXIF block that cannot be parsed says nothing and is ignored.
    - Other metadata: ignored, broken or not.
    - Animations, and files of several pages: the first, or the one asked for.
    - JPEGs of at least four times the size wanted: decoded at 1/2, 1/4 or 1/8, see `SCALED_ABOVE`.
    - More pixels than `PIL.Image.MAX_IMAGE_PIXELS` (89 million): refused before decoding.

    Args:
        data: The file's bytes.
        id: Names the image in an error.
        decoding: What of its values become pixels.
        wanted: `(height, width)` in pixels that it will be resized to; None is its own size.

    Returns:
        `(height, width, 3)` uint8, RGB, pixel range 0-255.

    Raises:
        BadImage: If the data is truncated, too large or no such image, has no such page, or values
            that the window does not fit.
    """
    if is_dicom(data):
        with _named(data, id):
            _check_pixels(*dicom_size(data))
            return decode_dicom(data, decoding.window, decoding.page)
    with _named(data, id), _opened(data) as image:
        _turn_to(image, decoding.page)
        _check_depth(image, decoding.window)
        if wanted and isinstance(image, JpegImagePlugin.JpegImageFile):
            height, width = wanted[::-1] if _orientation(image) in _SIDEWAYS else wanted
            image.draft(None, (SCALED_ABOVE * width, SCALED_ABOVE * height))
        image.load()
        return np.array(_to_rgb(_upright(image), decoding.window))


@_whatever_its_metadata
def decoded_size(data: bytes, id: str) -> tuple[int, int]:
    """Height and width in pixels that `decode` would return, read from the file's head.

    Damage behind the head may go unseen. A PNG that is not square is decoded after all: what turns
    it may stand at its end.

    Args:
        data: The file's bytes.
        id: Names the image in an error.

    Raises:
        BadImage: If the data is too large or no such image.
    """
    if is_dicom(data):
        with _named(data, id):
            return dicom_size(data)
    with _named(data, id), _opened(data) as image:
        turned = image.width != image.height and _orientation(image) in _SIDEWAYS
        return (image.width, image.height) if turned else (image.height, image.width)


@_whatever_its_metadata
def check_head(data: bytes, id: str) -> None:
    """Looks at the head of a file, which takes some 50 us; damage behind it goes unseen.

    Args:
        data: The file's bytes.
        id: Names the image in an error.

    Raises:
        BadImage: If the data is too large or no such image; `decode` would say the same.
    """
    with _named(data, id):
        if is_dicom(data):
            _check_pixels(*dicom_size(data))
        else:
            with _opened(data):
                pass


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    with Image.open(BytesIO(data), formats=formats_for(data)) as image:
        _check_pixels(image.height, image.width)
        yield image


def _check_pixels(height: int, width: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and width * height > limit:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")


@contextmanager
def _named(data: bytes, id: str) -> Iterator[None]:
    """Raises whatever goes wrong with an image as BadImage."""
    try:
        yield
        return
    except Image.UnidentifiedImageError:
        reason = "empty file" if not data else f"no {FORMATS} image"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"too many pixels, maybe a decompression bomb: {error}"
    except Exception as error:  # Decoders raise many kinds on malformed data.
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


def _orientation(image: Image.Image) -> int:
    """The tag's number; 1, upright, where there is none that can be read."""
    try:
        if image.format == "PNG":
            image.load()  # of two such blocks the later counts, which may stand at the end
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # As many kinds as there are ways to write a broken EXIF block.
        return 1


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _turn_to(image: Image.Image, page: int) -> None:
    """Has a file of several images load one of them; says once that a TIFF has more."""
    if page > 1:
        pages = getattr(image, "n_frames", 1)
        if page > pages:
            raise ValueError(f"expected page {page}, received a file of {pages}")
        image.seek(page - 1)
    elif image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
        warnings.warn(
            "of files of several pages the first is taken; --page N takes another",
            DataWarning,
            stacklevel=1,
        )


def _check_depth(image: Image.Image, window: str) -> None:
    """Refuses a window for colours of 16 bits, which Pillow reads as 8."""
    deep = image.mode[0] not in "IF" and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )
    if deep and window != "full":
        raise ValueError(
            f"expected grey values for --window {window}, received 16 bits of each colour, of "
            "which the upper 8 are read; leave --window out"
        )


def _to_rgb(image: Image.Image, window: str) -> Image.Image:
    if image.mode[0] in "IF":  # more than 8 bits: "I", "I;16", "I;16B", "F"
        values = np.asarray(image)
        levels = to_bytes(values, window)
        if window == "full" and values.size and values.max() < FEW_LEVELS:
            warnings.warn(
                "of grey values of 16 bits that use less than an eighth of their range few levels "
                "are left; --window 0:4095, for 12 bits, leaves more",
                DataWarning,
                stacklevel=1,
            )
        if getattr(image, "tag_v2", {}).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
            levels = 255 - levels  # white is zero; Pillow turns only 8 bits around
        levels[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(levels).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")

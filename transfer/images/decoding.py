"""Encoded image files to RGB pixels, and pixels to another size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""Names of image files end so, in any case."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")

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
    with _opened(data, id) as image:
        image.load()
        return np.array(_to_rgb(_upright(image)))


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
    with _opened(data, id) as image:
        turned = image.width != image.height and _orientation(image) in _SIDEWAYS
        return (image.width, image.height) if turned else (image.height, image.width)


def check_head(data: bytes, id: str) -> None:
    """Looks at the head of a file, which takes some 50 us; damage behind it goes unseen.

    Args:
        data: The file's bytes.
        id: Names the image in an error.

    Raises:
        BadImage: If the data is too large or no such image; `decode` would say the same.
    """
    with _opened(data, id):
        pass


@contextmanager
def _opened(data: bytes, id: str) -> Iterator[Image.Image]:
    """An image whose head is read; whatever goes wrong with it is raised as BadImage."""
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            yield image
            return
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


def _orientation(image: Image.Image) -> int:
    """The tag's number; 1, upright, where there is none that can be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # As many kinds as there are ways to write a broken EXIF block.
        return 1


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
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

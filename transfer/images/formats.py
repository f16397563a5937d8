"""Formats of image files: which ones Pillow may try on a file, and what it lacks for one."""

import re
import warnings
from functools import cache

from PIL import features

# None that runs programs (EPS) or is not meant for pictures; MPO, of phones, is read as JPEG.
_ALWAYS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM")
_WHERE_BUILT = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
"""Formats that Pillow can be built without, and what it calls what they need."""

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")

_BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM....\0\0\0\0|II\*\0|MM\0\*|P[1-6]\s+\d+\s+\d+\s|.{128}DICM",
    re.DOTALL,
)
"""How files of the formats that can't be missing begin, and DICOM."""


class MissingDecoder(ValueError):  # noqa: N818 (named for what is missing)
    """A file of a format that this installation cannot read; says what to install."""


def formats_for(data: bytes) -> tuple[str, ...]:
    """The formats that Pillow may try on a file, as it calls them.

    What the file is called does not matter: phones write HEIC into files called `.jpg`.

    Args:
        data: The file's bytes, or its first 64.

    Raises:
        MissingDecoder: If it needs a package, or a build of Pillow, that is not there.
    """
    format = _recognised(data)
    if format == "HEIF":
        return _heif()
    if format and format not in _readable():
        raise MissingDecoder(
            f"{format} image, which this build of Pillow cannot read: "
            "pip install --upgrade pillow, or save it as PNG"
        )
    return _readable()


def is_encoded_image(data: bytes) -> bool:
    """Whether data begin as a file of an image; it may be damaged behind."""
    return bool(_BEGINNINGS.match(data)) or _recognised(data) is not None


@cache
def _readable() -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older Pillow warns of features it does not know
        built = [format for format, needs in _WHERE_BUILT.items() if features.check(needs)]
    return (*_ALWAYS, *built)


@cache
def _heif() -> tuple[str, ...]:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise MissingDecoder("HEIC image: pip install pillow-heif, or save it as JPEG") from None
    register_heif_opener()
    return ("HEIF",)


def _recognised(data: bytes) -> str | None:
    """A format that may be missing, by the file's first bytes; None where it is none of them."""
    if data[4:8] == b"ftyp":  # ISO 14496-12: brands, four bytes each, the second is a version
        end = min(int.from_bytes(data[:4]), 64)
        brands = {data[place : place + 4] for place in range(8, end, 4)}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        return "HEIF" if brands & _HEIF_BRANDS else None
    if data.startswith(_JPEG_2000):
        return "JPEG2000"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None

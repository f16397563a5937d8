"""Metadata: whatever is wrong with it, the pixels are those of the file without it."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tests.transfer.images.test_decoding import encoded
from transfer.images.decoding import BadImage, decode, decoded_size
from transfer.images.metadata import without_metadata

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PNG = encoded(Image.fromarray(NOISE))
JPEG = encoded(Image.fromarray(NOISE), "JPEG", quality=90)
LONG = b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)
TURNED = Image.Exif()
TURNED[0x0112] = 6
EXIF = TURNED.tobytes()


def chunk(name, data, checksum=None):
    checksum = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png_with(*chunks, at=33):
    """Chunks behind the header, or before the end."""
    return PNG[:at] + b"".join(chunks) + PNG[at:]


def jpeg_with(marker, payload):
    segment = struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
    return JPEG[:2] + segment + JPEG[2:]


SMALL_BOMB = zlib.compress(LONG)
CHUNKS = {
    "a long compressed text": chunk(b"zTXt", b"Comment\0\0" + SMALL_BOMB),
    "a long international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + SMALL_BOMB),
    "a long profile": chunk(b"iCCP", b"icc\0\0" + SMALL_BOMB),
    "texts that are long together": chunk(b"tEXt", b"a\0" + LONG) * 65,
    "an unknown compression": chunk(b"zTXt", b"Comment\0\7" + SMALL_BOMB),
    "a profile cut short": chunk(b"iCCP", b""),
    "a size cut short": chunk(b"pHYs", b"\0\0"),
    "a gamma cut short": chunk(b"gAMA", b"\0"),
    "colours cut short": chunk(b"cHRM", b"\0" * 7),
    "a wrong checksum": chunk(b"tEXt", b"a\0b", checksum=1),
    "an animation out of order": chunk(b"fcTL", b"\0\0\0\x09" + bytes(22)),
    "a broken EXIF block": chunk(b"eXIf", b"MM\0*\xff", checksum=1),
}


@pytest.mark.parametrize("at", [33, len(PNG) - 12], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("broken", CHUNKS)
def test_pixels_of_a_png_count_whatever_else_is_in_it(broken, at):
    data = png_with(CHUNKS[broken], at=at)
    np.testing.assert_array_equal(decode(data, "x"), NOISE)
    assert decoded_size(data, "x") == NOISE.shape[:2]


def test_pillow_refuses_what_is_tested_here():
    for name in ("a long compressed text", "a long profile", "a gamma cut short"):
        with pytest.raises((ValueError, OSError)):
            Image.open(io.BytesIO(png_with(CHUNKS[name])))


def test_a_png_stays_upright_where_a_text_is_too_long():
    upright = decode(encoded(Image.fromarray(NOISE), exif=TURNED), "x")
    exif = chunk(b"eXIf", EXIF.removeprefix(b"Exif\0\0"))
    data = png_with(CHUNKS["a long compressed text"], exif)
    np.testing.assert_array_equal(decode(data, "x"), upright)
    np.testing.assert_array_equal(upright, np.rot90(NOISE, -1))
    assert decoded_size(data, "x") == upright.shape[:2]


def test_transparency_is_no_metadata():
    gray = Image.fromarray(NOISE[..., 0])
    clear = encoded(gray, transparency=int(NOISE[0, 0, 0]))
    data = clear[:33] + CHUNKS["a long compressed text"] + clear[33:]
    np.testing.assert_array_equal(decode(data, "x"), decode(clear, "x"))
    assert (decode(data, "x")[0, 0] == 255).all()


SEGMENTS = {
    "a JFIF header cut short": (0xE0, b"JFIF\0\1"),
    "a profile without its number": (0xE2, b"ICC_PROFILE\0"),
    "a Photoshop block cut short": (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x10\0"),
    "a colour transform cut short": (0xEE, b"Adobe\0\x64"),
    "an EXIF block cut short": (0xE1, b"Exif\0\0MM\0*\xff\xff"),
}


@pytest.mark.parametrize("broken", SEGMENTS)
def test_pixels_of_a_jpeg_count_whatever_else_is_in_it(broken):
    data = jpeg_with(*SEGMENTS[broken])
    np.testing.assert_array_equal(decode(data, "x"), decode(JPEG, "x"))
    assert decoded_size(data, "x") == NOISE.shape[:2]


def test_a_jpeg_stays_upright_where_its_profile_is_broken():
    exif = EXIF if EXIF.startswith(b"Exif") else b"Exif\0\0" + EXIF
    turned = jpeg_with(0xE1, exif)
    data = turned[:2] + jpeg_with(*SEGMENTS["a profile without its number"])[2:18] + turned[2:]
    np.testing.assert_array_equal(decode(data, "x"), np.rot90(decode(JPEG, "x"), -1))


@pytest.mark.parametrize("mode", ["CMYK", "RGB", "L"])
def test_colours_of_a_jpeg_are_told_as_before(mode):
    data = encoded(Image.fromarray(NOISE).convert(mode), "JPEG", quality=90)
    np.testing.assert_array_equal(decode(without_metadata(data), "x"), decode(data, "x"))


@given(
    st.sampled_from([0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE]),
    st.sampled_from([b"", b"JFIF\0", b"Exif\0\0MM", b"ICC_PROFILE\0", b"Photoshop 3.0\0"]),
    st.binary(max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_no_segment_of_a_jpeg_spoils_it(marker, head, junk):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = decode(jpeg_with(marker, head + junk), "x")
    assert sorted(image.shape) == sorted(NOISE.shape)


@pytest.mark.parametrize("data", [PNG, JPEG, b"", PNG[:8], b"\xff\xd8", b"GIF89a", PNG[:20]])
def test_what_has_no_metadata_stays_readable_or_as_bad(data):
    bare = without_metadata(data)
    assert len(bare) <= len(data)
    try:
        pixels = decode(data, "x")
    except BadImage:
        with pytest.raises(BadImage):
            decode(bare, "x")
    else:
        np.testing.assert_array_equal(decode(bare, "x"), pixels)


def test_lost_pixels_are_lost_with_and_without_metadata():
    data = png_with(CHUNKS["a long compressed text"])
    with pytest.raises(BadImage):
        decode(data[:-30], "x")
    with pytest.raises(BadImage):
        decode(jpeg_with(*SEGMENTS["a profile without its number"])[:-60], "x")

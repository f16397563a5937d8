"""Formats: every one that is named is read, and what is missing for one is said."""

import io
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image, features

from tests.transfer.images.test_decoding import encoded
from transfer.images import formats
from transfer.images.decoding import BadImage, decode, decoded_size
from transfer.images.file_names import FORMATS, SUFFIXES
from transfer.images.formats import MissingDecoder, formats_for

RAMP = np.stack(np.meshgrid(np.arange(0, 240, 10), np.arange(0, 200, 10)), -1).astype(np.uint8)
PIXELS = np.concatenate([RAMP, 255 - RAMP[..., :1]], -1)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
WRITTEN = {
    **{"PNG": {}, "BMP": {}, "GIF": {}, "PPM": {}, "TIFF": {}, "WEBP": {"lossless": True}},
    **{"JPEG": {"quality": 95}, "MPO": {"quality": 95}, "AVIF": {"quality": 95}, "JPEG2000": {}},
}
BUILT = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


@pytest.mark.parametrize("format", WRITTEN)
def test_every_format_is_read(format):
    if format in BUILT and not features.check(BUILT[format]):
        pytest.skip(f"this Pillow is built without {format}")
    gray = np.repeat(PIXELS[..., :1], 3, -1)  # as a GIF keeps it, too
    data = encoded(Image.fromarray(gray), format, **WRITTEN[format])
    assert np.abs(decode(data, "x").astype(int) - gray).max() <= 12
    assert decoded_size(data, "x") == gray.shape[:2]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_compressed_tiff(compression):
    data = encoded(Image.fromarray(PIXELS), "TIFF", compression=compression)
    assert np.abs(decode(data, "x").astype(int) - PIXELS).mean() <= (compression == "jpeg") * 8


@pytest.mark.parametrize("data", [b"P2 3 2 100 50 50 50 50 50 50", b"P5 3 2 100 222222"])
def test_graymaps_as_text_and_as_bytes(data):
    np.testing.assert_array_equal(decode(data, "x"), np.full((2, 3, 3), 128))  # of 50 in 100


def test_the_first_picture_of_a_phones_file_counts_also_where_the_second_is_cut_off():
    second = [Image.fromarray(PIXELS[::-1].copy())]
    data = encoded(Image.fromarray(PIXELS), "MPO", save_all=True, append_images=second)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    alone = decode(encoded(Image.fromarray(PIXELS), "JPEG"), "x")
    np.testing.assert_array_equal(decode(data, "x"), alone)
    np.testing.assert_array_equal(decode(data[: len(data) * 3 // 4], "x"), alone)


def test_pillow_knows_every_suffix_for_a_format_that_is_read():
    known = Image.registered_extensions()
    others = {".heic", ".heif", ".dcm"}
    assert {known[suffix] for suffix in set(SUFFIXES) - others} <= set(formats._ALWAYS) | set(BUILT)
    assert others < set(SUFFIXES)
    assert {name.lower() for name in WRITTEN} - {"mpo"} <= set(
        FORMATS.lower().replace(" 2000", "2000").replace(" or", ",").split(", ")
    )


# ---- what may be missing


def test_heic_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (decode, decoded_size):
        with pytest.raises(BadImage, match="HEIC image: pip install pillow-heif"):
            read(HEIC, "x.jpg")


def test_heic_registers_its_opener_once_it_is_met(monkeypatch):
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))

    def opened(file, name):
        image = Image.new("RGB", (3, 2), "red")
        image.format = "HEIF"
        return image

    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_open("HEIF", opened)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    formats._heif.cache_clear()
    try:
        decode(encoded(Image.fromarray(PIXELS)), "x")
        assert "HEIF" not in Image.OPEN
        np.testing.assert_array_equal(decode(HEIC, "x"), np.full((2, 3, 3), (255, 0, 0)))
        assert formats_for(HEIC) == ("HEIF",)
    finally:
        formats._heif.cache_clear()


def test_heic_is_read_by_the_real_package():
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(PIXELS)).save(file, quality=95)
    assert np.abs(decode(file.getvalue(), "x").astype(int) - PIXELS).mean() < 8


@pytest.mark.parametrize(("format", "feature"), BUILT.items())
def test_a_build_without_a_format_says_so_and_reads_the_others(monkeypatch, format, feature):
    if not features.check(feature):
        pytest.skip(f"this Pillow is built without {format}")
    data = encoded(Image.fromarray(PIXELS), format)
    assert format in formats_for(data)
    check = features.check
    monkeypatch.setattr(features, "check", lambda name: name != feature and check(name))
    formats._readable.cache_clear()
    try:
        with pytest.raises(MissingDecoder, match=f"{format} image, which this build of Pillow"):
            formats_for(data)
        with pytest.raises(BadImage, match="pip install --upgrade pillow"):
            decode(data, "x")
        png = encoded(Image.fromarray(PIXELS))
        np.testing.assert_array_equal(decode(png, "x"), PIXELS)
    finally:
        formats._readable.cache_clear()


def test_the_package_for_heic_is_not_looked_for_where_there_is_none():
    program = (
        "import sys, io; from PIL import Image; from transfer.images.decoding import decode\n"
        "file = io.BytesIO(); Image.new('RGB', (3, 2)).save(file, 'PNG')\n"
        "decode(file.getvalue(), 'x'); print('pillow_heif' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"

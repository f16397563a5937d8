"""Decoding and resizing: values against independent computations."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transfer.errors import DataWarning
from transfer.images.decoding import (
    BadImage,
    Decoding,
    decode,
    decoded_size,
    resize,
)

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(rows, bit_depth, color_type, *chunks):
    """A PNG file written byte by byte, for the modes that Pillow cannot write."""

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    rows = np.asarray(rows)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bit_depth, color_type, 0, 0, 0)
    kind = ">u2" if bit_depth == 16 else "u1"
    lines = b"".join(b"\0" + row.astype(kind).tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(name, data) for name, data in chunks)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


# --- decode ---


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_rgb_is_exact_in_lossless_formats(format):
    data = encoded(Image.fromarray(NOISE), format, lossless=True)
    np.testing.assert_array_equal(decode(data, "x"), NOISE)


def test_jpeg_is_close():
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    data = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    assert np.abs(decode(data, "x").astype(int) - smooth).max() <= 3


def test_grayscale_is_repeated():
    gray = NOISE[..., 0]
    expected = np.repeat(gray[..., None], 3, -1)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(gray)), "x"), expected)


def test_one_bit_is_0_and_255():
    bits = np.array([[True, False], [False, True]])
    decoded = decode(encoded(Image.fromarray(bits)), "x")
    np.testing.assert_array_equal(decoded[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP"])
def test_palette_colours_are_looked_up(format):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode(encoded(image, format), "x")
    np.testing.assert_array_equal(decoded, [[[10, 20, 30], [40, 50, 60]]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_on_white(mode):
    rgba = RANDOM.integers(0, 256, (9, 8, 4), dtype=np.uint8)
    image = Image.fromarray(rgba, "RGBA").convert(mode)
    pixels = np.asarray(image).astype(float)
    alpha = pixels[..., -1:] / 255
    expected = alpha * pixels[..., :-1] + (1 - alpha) * 255
    decoded = decode(encoded(image), "x").astype(float)
    assert np.abs(decoded - expected).max() <= 1


def test_transparent_palette_entry_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode(encoded(image, transparency=0), "x")
    np.testing.assert_array_equal(decoded, [[[255, 255, 255], [40, 50, 60]]])


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_16_bit_gray_is_scaled_by_257(values):
    decoded = decode(png([values], 16, 0), "x")
    expected = [round(value / 257) for value in values]
    np.testing.assert_array_equal(decoded[0], np.repeat(np.array(expected)[:, None], 3, 1))


def test_16_bit_gray_with_a_transparent_value():
    decoded = decode(png([[257, 514]], 16, 0, (b"tRNS", struct.pack(">H", 257))), "x")
    np.testing.assert_array_equal(decoded[0, :, 0], [255, 2])


def test_16_bit_colour_keeps_the_upper_bits():
    colours = RANDOM.integers(0, 65536, (4, 3, 3))
    decoded = decode(png(colours, 16, 2), "x")
    np.testing.assert_array_equal(decoded, colours >> 8)


def tiff(*pages, **options):
    first, *others = [Image.fromarray(page) for page in pages]
    return encoded(first, "TIFF", save_all=True, append_images=others, **options)


def test_the_window_spreads_16_bit_tiff():
    values = RANDOM.integers(0, 3015, (6, 5), dtype=np.uint16)
    decoded = decode(tiff(values), "x", Decoding("0:3014"))
    np.testing.assert_array_equal(decoded[..., 2], np.rint(values / 3014 * 255))


def test_few_levels_are_warned_of():
    dark = RANDOM.integers(0, 4096, (6, 5), dtype=np.uint16)
    with pytest.warns(DataWarning, match="--window 0:4095"):
        decode(tiff(dark), "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(tiff(dark), "x", Decoding("0:4095"))
        decode(tiff(np.array([[0, 9000]], np.uint16)), "x")


def test_16_bit_tiff_where_white_is_zero():
    values = RANDOM.integers(0, 65536, (6, 5), dtype=np.uint16)
    inverted = tiff(values, tiffinfo={262: 0})
    assert Image.open(io.BytesIO(inverted)).tag_v2[262] == 0
    expected = 255 - np.rint(values / 257)
    np.testing.assert_array_equal(decode(inverted, "x")[..., 0], expected)


def test_floats_are_refused_until_a_window_is_given():
    values = RANDOM.random((4, 3), np.float32)
    with pytest.raises(BadImage, match=r"expected grey values of 8 or 16 bits, .*--window"):
        decode(tiff(values), "x")
    np.testing.assert_array_equal(
        decode(tiff(values), "x", Decoding("0:1"))[..., 0], np.rint(values.astype(float) * 255)
    )


def test_a_window_leaves_8_bits_alone_and_is_refused_for_16_bits_of_colour():
    data = encoded(Image.fromarray(NOISE))
    np.testing.assert_array_equal(decode(data, "x", Decoding("0:100")), NOISE)
    deep = png(RANDOM.integers(0, 65536, (4, 3, 3)), 16, 2)
    with pytest.raises(BadImage, match="expected grey values for --window minmax"):
        decode(deep, "x", Decoding("minmax"))


def test_pages():
    pages = RANDOM.integers(0, 256, (3, 5, 4), dtype=np.uint8)
    data = tiff(*pages)
    with pytest.warns(DataWarning, match=r"the first is taken; --page N"):
        np.testing.assert_array_equal(decode(data, "x")[..., 0], pages[0])
    np.testing.assert_array_equal(decode(data, "x", Decoding(page=3))[..., 0], pages[2])
    with pytest.raises(BadImage, match="expected page 4, received a file of 3"):
        decode(data, "x", Decoding(page=4))
    with pytest.raises(BadImage, match="expected page 2, received a file of 1"):
        decode(encoded(Image.fromarray(NOISE)), "x", Decoding(page=2))


# --- decoding at a part of the size ---


@pytest.mark.parametrize(
    ("size", "wanted", "expected"),
    [
        (
            (800, 640),
            (160, 160),
            (400, 320),
        ),  # an eighth would be smaller than twice what is wanted
        ((1600, 1280), (160, 160), (400, 320)),
        ((2560, 2560), (160, 160), (320, 320)),
        ((639, 2000), (160, 160), (639, 2000)),  # one side too short
        ((800, 640), None, (800, 640)),
    ],
)
def test_large_jpegs_are_decoded_at_a_part_of_their_size_never_below_twice_the_wanted(
    size, wanted, expected
):
    smooth = Image.linear_gradient("L").resize(size[::-1]).convert("RGB")
    data = encoded(smooth, "JPEG", quality=92)
    decoded = decode(data, "x", wanted=wanted)
    assert decoded.shape == (*expected, 3)
    assert decoded_size(data, "x") == size
    if wanted:
        whole = resize(decode(data, "x"), wanted)
        assert np.abs(resize(decoded, wanted) - whole).max() < 3


def test_the_wanted_size_is_that_of_the_upright_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.new("RGB", (1600, 800))  # 800 wide and 1600 high when it stands upright
    data = encoded(stored, "JPEG", exif=exif)
    assert decode(data, "x", wanted=(400, 200)).shape == (800, 400, 3)
    assert decode(data, "x", wanted=(200, 400)).shape == (1600, 800, 3)


def test_only_jpegs_are_decoded_at_a_part_of_their_size():
    data = encoded(Image.new("RGB", (1600, 800)))
    assert decode(data, "x", wanted=(100, 100)).shape == (800, 1600, 3)


def test_cmyk_jpeg():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # full magenta and yellow: red
    decoded = decode(encoded(image, "JPEG", quality=95), "x").astype(int)
    assert np.abs(decoded - [255, 0, 0]).max() <= 5


# Where the upper left pixel of the upright image lies in the stored one, and the next to its right.
# Source: EXIF 2.3, table of tag Orientation (0th row, 0th column).
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("PNG", "WEBP"):
        data = encoded(Image.fromarray(NOISE), format, exif=exif, lossless=True)
        np.testing.assert_array_equal(decode(data, "x"), UPRIGHT[orientation](NOISE))
        assert decoded_size(data, "x") == UPRIGHT[orientation](NOISE).shape[:2]


def test_broken_exif_is_ignored():
    data = encoded(Image.fromarray(NOISE), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(decode(data, "x"), NOISE)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(format):
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(red, format, save_all=True, append_images=[blue], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(decode(data, "x"), np.full((4, 4, 3), (255, 0, 0)))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_truncated_is_bad(format):
    image = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(image, format)
    with pytest.raises(BadImage) as caught:
        decode(data[: len(data) // 2], "cats/1.jpg")
    assert caught.value.id == "cats/1.jpg"
    assert caught.value.reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_the_size_is_in_the_head(format):
    data = encoded(Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)), format)
    if format != "WEBP":  # whose decoder wants all of the file before it says anything
        assert decoded_size(data[: len(data) // 2], "x") == (64, 64)
    assert decoded_size(encoded(Image.fromarray(NOISE), format), "x") == (5, 7)
    with pytest.raises(BadImage, match="no JPEG"):
        decoded_size(b"nothing", "x")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "no JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no JPEG"),
    ],
)
def test_not_an_image_is_bad(data, reason):
    with pytest.raises(BadImage, match=reason):
        decode(data, "x")


@given(st.binary(max_size=40), st.integers(0, 10_000), st.sampled_from(["PNG", "JPEG", "GIF"]))
@settings(max_examples=100, deadline=None)
def test_damage_gives_an_image_or_bad_image_and_nothing_else(junk, place, format):
    data = bytearray(encoded(Image.fromarray(NOISE), format))
    place %= len(data)
    data[place : place + len(junk)] = junk
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = decode(bytes(data), "x")
    except BadImage as bad:
        assert bad.reason
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 60_000])
def test_decompression_bomb_is_bad_and_not_decoded(side):
    bomb = png(np.zeros((1, 1)), 8, 0)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = bomb[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + bomb[33:]
    for read in (decode, decoded_size):
        with pytest.raises(BadImage, match="too many pixels"):
            read(bomb, "x")


# --- resize ---


def triangle_resize(image, size):
    """Antialiased bilinear by its definition: a triangle as wide as a target pixel, or source."""
    for axis, target in ((0, size[0]), (1, size[1])):
        source = image.shape[axis]
        scale = source / target
        width = max(scale, 1.0)
        centers = (np.arange(target) + 0.5) * scale
        distance = np.abs(np.arange(source) + 0.5 - centers[:, None]) / width
        weights = np.maximum(0, 1 - distance)
        weights /= weights.sum(axis=1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis)
    return image


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_resize_is_the_triangle_filter(source, target, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*source, 3), dtype=np.uint8)
    resized = resize(image, target)
    assert resized.dtype == np.float32
    assert np.abs(resized - triangle_resize(image.astype(float), target)).max() < 1e-2


@pytest.mark.parametrize("source", [(32, 32), (200, 131), (96, 300)])
def test_resize_equals_keras(source):
    import keras

    image = RANDOM.integers(0, 256, (*source, 3), dtype=np.uint8)
    layer = keras.layers.Resizing(96, 80, antialias=True)
    expected = keras.ops.convert_to_numpy(layer(image[None].astype(np.float32)))[0]
    assert np.abs(resize(image, (96, 80)) - expected).max() < 0.01


def test_resize_to_the_same_size_changes_nothing():
    np.testing.assert_array_equal(resize(NOISE, (5, 7)), NOISE.astype(np.float32))


def test_of_two_exif_blocks_of_a_png_the_later_turns_it():
    def png(orientation):
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = orientation
        Image.new("L", (3, 2)).save(file, "PNG", exif=exif)
        return file.getvalue()

    turned, upright = png(6), png(1)
    block = slice(upright.index(b"eXIf") - 4, upright.index(b"IDAT") - 4)
    end = turned.index(b"IEND") - 4
    both = turned[:end] + upright[block] + turned[end:]
    assert decoded_size(both, "both") == decode(both, "both").shape[:2] == (2, 3)
    assert decoded_size(turned, "one") == decode(turned, "one").shape[:2] == (3, 2)

"""Decoding, resizing, and streaming rows: values against independent computations."""

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transfer.images.archives import FolderFiles
from transfer.images.decoding import BadImage, decode, resize
from transfer.images.imageset import ImageSet

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


def set_of(folder, files):
    """An ImageSet over files that are written to a folder."""
    names = [f"{i:03}.png" for i in range(len(files))]
    for name, data in zip(names, files, strict=True):
        (folder / name).write_bytes(data)
    return ImageSet(
        ids=np.array(names, object),
        labels=np.arange(len(files)) % 2,
        class_names=("a", "b"),
        split=np.full(len(files), "train"),
        source=FolderFiles(folder, names),
        members=np.arange(len(files)),
    )


def array_set(images):
    return ImageSet(
        ids=np.array([f"{i:03}" for i in range(len(images))], object),
        labels=np.arange(len(images)) % 2,
        class_names=("a", "b"),
        split=np.full(len(images), "train"),
        source=images,
        members=np.arange(len(images)),
    )


def joined(batches, image_size):
    """All rows of some batches as float32 of one size."""
    return np.concatenate([[resize(i, image_size) if i.dtype == np.uint8 else i for i in b.images]
                           for b in batches])  # fmt: skip


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
    decoded = decode(encoded(Image.fromarray(NOISE), exif=exif), "x")
    np.testing.assert_array_equal(decoded, UPRIGHT[orientation](NOISE))


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
    with pytest.raises(BadImage, match="too many pixels"):
        decode(bomb, "x")


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


# --- ImageSet ---


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """20 images: most 12x10, some of other sizes, three bad ones; and the true pixels."""
    pixels, files = [], []
    for i in range(20):
        size = (12, 10) if i % 7 else (15, 9 + i)
        image = RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)
        data = encoded(Image.fromarray(image))
        if i in (0, 11, 12):
            data, image = data[:50], None
        pixels.append(image)
        files.append(data)
    return set_of(tmp_path_factory.mktemp("mixed"), files), pixels


def test_read_and_stream_give_the_pixels_in_order(mixed):
    images, pixels = mixed
    streamed = list(images.stream())
    assert [row for row, _ in streamed] == list(range(20))
    for row, image in streamed:
        if pixels[row] is None:
            assert isinstance(image, BadImage)
            assert image.id == images.ids[row]
            with pytest.raises(BadImage):
                images.read(row)
        else:
            np.testing.assert_array_equal(image, pixels[row])
            np.testing.assert_array_equal(images.read(row), pixels[row])


@given(
    st.integers(1, 25),
    st.sets(st.integers(0, 19)),
    st.none() | st.integers(1, 25),
    st.sampled_from([(12, 10), (16, 16), (8, 20), (40, 40)]),
)
@settings(max_examples=40, deadline=None)
def test_batches_hold_every_row_once_whatever_the_batching(
    mixed, batch_size, chosen, boundary, image_size
):
    images, pixels = mixed
    asked = np.array(sorted(chosen), np.int64)
    batches = list(images.batches(batch_size, image_size, asked, boundary))
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert rows == sorted(chosen)
    for batch in batches:
        assert len(batch.images) == len(batch.rows) <= batch_size
        assert boundary is None or len(np.unique(batch.rows // boundary)) == 1
        expected_bad = [images.ids[row] for row in batch.rows if pixels[row] is None]
        assert [bad.id for bad in batch.bad] == expected_bad
    if rows:
        expected = [
            np.zeros((*image_size, 3)) if pixels[row] is None
            else triangle_resize(pixels[row].astype(float), image_size)
            for row in rows
        ]  # fmt: skip
        assert np.abs(joined(batches, image_size) - expected).max() < 1e-2


def test_native_size_is_kept_where_it_fits(mixed):
    images, _ = mixed
    assert images.native_size == (12, 10)  # row 0 is bad
    kinds = [(b.images.dtype.name, b.images.shape[1:3]) for b in images.batches(3, (16, 16))]
    assert kinds[0] == ("uint8", (12, 10))  # rows 0 (bad), 1, 2
    assert kinds[2] == ("float32", (16, 16))  # row 7 has another size
    for image_size in ((11, 16), (16, 9)):  # one side of the native size is larger
        for batch in images.batches(3, image_size):
            assert batch.images.dtype == np.float32
            assert batch.images.shape[1:] == (*image_size, 3)


def test_a_set_without_one_readable_image(tmp_path):
    images = set_of(tmp_path, [b"", b"no", b"image"])
    (batch,) = images.batches(8, (6, 5))
    assert images.native_size is None
    assert [bad.id for bad in batch.bad] == list(images.ids)
    np.testing.assert_array_equal(batch.images, np.zeros((3, 6, 5, 3)))


def test_missing_file_is_a_bad_image(tmp_path):
    images = set_of(tmp_path, [encoded(Image.fromarray(NOISE))] * 3)
    (tmp_path / "001.png").unlink()
    (batch,) = images.batches(8, (5, 7))
    assert [(bad.id, bad.reason) for bad in batch.bad] == [
        ("001.png", "cannot be read: No such file or directory")
    ]


@pytest.mark.parametrize("image_size", [(8, 8), (20, 30), (4, 20)])
def test_arrays_batch_like_files(tmp_path, image_size):
    pixels = RANDOM.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    files = set_of(tmp_path, [encoded(Image.fromarray(image)) for image in pixels])
    arrays = array_set(pixels)
    rows = np.array([1, 2, 5, 8])
    for one, other in ((files, arrays), (files.subset(rows), arrays.subset(rows))):
        some = np.arange(1, len(one))
        for a, b in zip(
            one.batches(4, image_size, some), other.batches(4, image_size, some), strict=True
        ):
            np.testing.assert_array_equal(a.rows, b.rows)
            assert a.images.dtype == b.images.dtype
            np.testing.assert_array_equal(a.images, b.images)
    for (i, a), (j, b) in zip(files.stream(2, 7), arrays.stream(2, 7), strict=True):
        assert i == j
        np.testing.assert_array_equal(a, b)


def test_array_reads_do_not_alias():
    pixels = np.zeros((2, 3, 3, 3), np.uint8)
    array_set(pixels).read(1)[:] = 9
    assert pixels.max() == 0


def test_subset_selects_everything_alike():
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    images = array_set(pixels).subset(np.array([1, 3, 4, 9])).subset(np.array([0, 2]))
    assert list(images.ids) == ["001", "004"]
    assert list(images.labels) == [1, 0]
    assert [images.read(row)[0, 0, 0] for row in range(len(images))] == [1, 4]


@pytest.mark.parametrize("rows", [[1, 1], [2, 1], [-1, 2], [3, 10]])
def test_subset_refuses_rows_that_do_not_increase_or_exist(rows):
    with pytest.raises(ValueError, match=r"0\.\.9"):
        array_set(np.zeros((10, 2, 2, 3), np.uint8)).subset(np.array(rows))


def test_empty_subset():
    images = array_set(np.zeros((3, 2, 2, 3), np.uint8)).subset(np.array([], int))
    assert list(images.batches(4, (2, 2))) == []


def test_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        next(array_set(np.zeros((3, 2, 2, 3), np.uint8)).batches(0, (2, 2)))


def test_read_ahead_is_bounded_and_ends_with_the_consumer(tmp_path):
    reads = []

    class Counting(FolderFiles):
        def readers(self, members):
            for member, reader in zip(members, super().readers(members), strict=True):
                reads.append(member)
                yield reader

    images = set_of(tmp_path, [encoded(Image.fromarray(NOISE))] * 200)
    object.__setattr__(images, "source", Counting(tmp_path, list(images.ids)))
    stream = images.stream()
    next(stream)
    stream.close()
    assert len(reads) < 40
    batches = images.batches(16, (5, 7))
    reads.clear()
    next(batches)
    batches.close()
    assert len(reads) < 16 * 2 + 40


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    data = encoded(Image.fromarray(RANDOM.integers(0, 256, (100, 100, 3), dtype=np.uint8)))
    images = set_of(tmp_path, [data] * 300)

    def peak(stop):
        tracemalloc.start()
        for _ in images.batches(8, (50, 50), np.arange(stop)):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(8)
    assert peak(300) < peak(60) + 500_000  # 240 more rows would be 7 MB decoded

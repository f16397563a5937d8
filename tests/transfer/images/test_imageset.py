"""Sets of images: reading, streaming and batching rows."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.transfer.images.test_decoding import NOISE, encoded, triangle_resize
from transfer.errors import InputError
from transfer.images.archives import FolderFiles
from transfer.images.decoding import BadImage, resize
from transfer.images.imageset import ImageSet

RANDOM = np.random.default_rng(0)


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
            assert images.size(row) == pixels[row].shape[:2]
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


def test_arrays_have_one_size():
    assert array_set(np.zeros((2, 5, 7, 3), np.uint8)).size(1) == (5, 7)


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


def test_rows_with_some_ids_keep_their_order():
    images = ImageSet(
        ids=np.array(["b", "a", "c", "d"], object),
        labels=np.array([1, 0, 1, 0]),
        class_names=("x", "y"),
        split=np.full(4, "train"),
        members=np.arange(4),
        source=np.arange(4 * 12, dtype=np.uint8).reshape(4, 2, 2, 3),
    )
    some = images.with_ids(np.array(["d", "b", "none"]))
    assert some.ids.tolist() == ["b", "d"]
    assert some.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(some.read(1), images.read(3))
    assert len(images.with_ids([])) == 0


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


@pytest.mark.parametrize(("pixels", "said"), [(np.float32, "float32 from 0 to 1"), (bool, "bool")])
def test_pixels_that_were_divided_by_255_are_refused(pixels, said):
    source = np.array([0, 1], pixels).repeat(24).reshape(2, 2, 4, 3)
    rows = np.arange(2)
    with pytest.raises(InputError, match=f"uint8 pixels from 0 to 255, received {said}"):
        ImageSet(rows.astype(str), rows, ("a", "b"), np.full(2, "train"), source, rows)
    # Zeros and ones may well be an image.
    as_bytes = source.astype(np.uint8)
    images = ImageSet(rows.astype(str), rows, ("a", "b"), np.full(2, "train"), as_bytes, rows)
    assert images.read(1).max() == 1

"""Digests of files and of images, against hashlib on the very same bytes."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.transfer.images.test_archives import count_passes, packed
from tests.transfer.images.test_cifar import cifar10_binary
from transfer.images.archives import FolderFiles
from transfer.images.digests import UNREADABLE, file_digest, file_digests, image_digests
from transfer.images.sources import DataOptions, digest, load

# Enough for several tasks of file_digests; sizes around its block, and an empty file.
FILES = {f"{animal}/{i:03}.jpg": f"{animal} {i}".encode() * i
         for animal in ("cats", "dogs") for i in range(100)}  # fmt: skip
FILES["cats/big.png"] = bytes(range(256)) * 2048 + b"!"
FILES["cats/exact.png"] = bytes(1 << 18)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write(folder, kind, files=FILES):
    path = packed(folder, kind, dict(reversed(files.items())))  # not in the order of names
    return DataOptions(data=str(path), val_fraction=0.0, test_fraction=0.0)


# --- files ---


def test_file_digests_are_hashlibs(tmp_path):
    write(tmp_path, "folder")
    paths = [tmp_path / "data.folder" / name for name in FILES]
    assert file_digests(paths) == [sha256(data) for data in FILES.values()]
    assert [file_digest(path) for path in paths[-2:]] == file_digests(paths[-2:])
    assert file_digests([]) == []


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "link").symlink_to("nowhere")
    paths = [tmp_path / "link", tmp_path / "good", tmp_path, tmp_path / "none"]
    assert file_digests(paths) == [UNREADABLE, sha256(b"good"), UNREADABLE, UNREADABLE]
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "none")


# --- images ---


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_an_image_has_the_digest_of_its_file_wherever_it_lies(tmp_path, kind):
    images = load(write(tmp_path, kind))
    digests = image_digests(images)
    assert (digests.shape, digests.dtype) == ((len(FILES), 32), np.uint8)
    assert digests.flags.writeable
    assert [row.tobytes().hex() for row in digests] == [sha256(FILES[id]) for id in images.ids]
    some = np.array([3, 4, 100, 150])
    np.testing.assert_array_equal(image_digests(images.subset(some)), digests[some])
    assert image_digests(images.subset(np.array([], int))).shape == (0, 32)


def test_a_folder_is_digested_by_what_is_given_for_it(tmp_path):
    options = write(tmp_path, "folder")
    calls = []

    def digests_of(paths):
        calls.append([Path(path) for path in paths])
        return [sha256(b"x")] * (len(paths) - 1) + [UNREADABLE]

    images = load(options)
    digests = image_digests(images, digests_of)
    assert calls == [[Path(options.data, id) for id in images.ids]]
    assert digests[0].tobytes() == hashlib.sha256(b"x").digest()
    assert not digests[-1].any()


@pytest.mark.parametrize(("kind", "expected"), [("zip", [len(FILES)]), ("tar.gz", [])])
def test_an_archive_is_read_in_one_pass(tmp_path, monkeypatch, kind, expected):
    images = load(write(tmp_path, kind))
    passes = count_passes(monkeypatch, images.source)
    image_digests(images, digests_of=None)
    assert passes == expected  # a compressed tar was digested in the pass that listed it


def test_unreadable_images_are_zeros(tmp_path):
    options = write(tmp_path, "folder")
    (Path(options.data) / "cats" / "001.jpg").unlink()
    (Path(options.data) / "cats" / "001.jpg").symlink_to("nowhere")
    images = load(options)
    bad = images.ids == "cats/001.jpg"
    np.testing.assert_array_equal(~image_digests(images).any(axis=1), bad)


def test_a_damaged_member_of_a_zip_is_zeros(tmp_path):
    options = write(tmp_path, "zip", {f"{name}/1.jpg": name.encode() * 99 for name in "ab"})
    path = Path(options.data)
    data = bytearray(path.read_bytes())
    data[data.index(b"a/1.jpg") + len("a/1.jpg") + 3] ^= 0xFF  # the first compressed bytes
    path.write_bytes(data)
    digests = image_digests(load(options))
    assert not digests[0].any()
    assert digests[1].tobytes() == hashlib.sha256(b"b" * 99).digest()


def test_digests_of_a_compressed_tar_are_those_of_what_was_listed(tmp_path):
    options = write(tmp_path, "tar.gz")
    images = load(options)
    before = image_digests(images)
    write(tmp_path, "tar.gz", {"cats/1.jpg": b"1"})
    np.testing.assert_array_equal(image_digests(images), before)


def test_images_of_an_array(tmp_path):
    for name, data in cifar10_binary().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    images = load(DataOptions(data=str(tmp_path / "cifar-10-batches-bin")))
    rows = np.arange(1, len(images), 7)
    expected = [sha256(b"pixels 32x32x3\0" + images.read(row).tobytes()) for row in rows]
    digests = image_digests(images.subset(rows))
    assert [row.tobytes().hex() for row in digests] == expected
    # by members, not by rows, and whatever the array's layout
    turned = replace(images, source=np.asfortranarray(images.source), members=images.members[::-1])
    np.testing.assert_array_equal(image_digests(turned), image_digests(images)[::-1])


def test_shape_counts_and_pixels_are_not_taken_for_a_file(tmp_path):
    digits = load(DataOptions(data="digits"))
    pixels = digits.source[:2]
    flat, _ = (
        image_digests(replace(digits.subset(np.arange(2)), source=pixels.reshape(shape)))
        for shape in ((2, 4, 16, 3), (2, 8, 8, 3))
    )
    tall = image_digests(digits.subset(np.arange(2)))
    assert (flat != tall).any(axis=1).all()
    (tmp_path / "1.png").write_bytes(pixels[0].tobytes())
    files = FolderFiles(tmp_path, ["1.png"])
    as_file = replace(digits.subset(np.arange(1)), source=files, members=np.array([0]))
    assert (image_digests(as_file)[0] != tall[0]).any()


def test_the_pipelines_digest_asks_once_for_all_files(tmp_path):
    for kind in ("folder", "zip"):
        calls = []

        def digests_of(paths, calls=calls):
            calls.append(len(paths))
            return file_digests(paths)

        options = write(tmp_path, kind)
        assert digest(options, digests_of) == digest(options)
        assert calls == [len(FILES) if kind == "folder" else 1]


def test_importing_it_is_cheap():
    program = (
        "import sys, transfer.images.digests; print(*{'PIL', 'keras', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""

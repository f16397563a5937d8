"""Folders, zips and tars: the same files by every way, damage named, nothing left open."""

import gc
import io
import os
import random
import tarfile
import threading
import warnings
import zipfile

import numpy as np
import pytest

from transfer.errors import InputError
from transfer.images.archives import kind_of, open_listing

CONTENT = {
    "photos/cats/1.jpg": b"first cat",
    "photos/cats/2.jpg": bytes(range(256)) * 40,
    "photos/dogs/ä b.jpg": b"",
    "photos/notes.txt": b"not an image",
}
TARS = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}
KINDS = ("folder", "zip", *TARS)


def add(tar, name, data=b"", type=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.size = type, len(data)
    tar.addfile(member, io.BytesIO(data))


def packed(folder, kind, content=CONTENT):
    """Writes files to a folder or an archive of some kind and returns its path."""
    path = folder / f"data.{kind}"
    if kind == "folder":
        for name, data in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, TARS[kind]) as archive:
            for name, data in content.items():
                add(archive, name, data)
    return path


def count_passes(monkeypatch, contents):
    """Returns a list to which each pass over the contents adds how many members it reads."""
    passes = []
    readers = type(contents).readers

    def counted(self, members):
        passes.append(len(members))
        return readers(self, members)

    monkeypatch.setattr(type(contents), "readers", counted)
    return passes


def read_all(listing):
    readers = listing.contents.readers(np.arange(len(listing.files)))
    return {name: reader() for name, reader in zip(listing.files, readers, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_files(tmp_path, kind):
    listing = open_listing(packed(tmp_path, kind))
    assert read_all(listing) == CONTENT
    assert listing.contents.sequential == (kind in ("tar.gz", "tar.xz", "tar.bz2"))


@pytest.mark.parametrize("kind", KINDS)
def test_some_members_can_be_read_alone(tmp_path, kind):
    listing = open_listing(packed(tmp_path, kind))
    chosen = np.array([1, 3])
    found = [reader() for reader in listing.contents.readers(chosen)]
    assert found == [CONTENT[listing.files[member]] for member in chosen]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_random_access_from_many_threads(tmp_path, kind):
    content = {f"a/{i}.jpg": os.urandom(5000 + i) for i in range(50)}
    listing = open_listing(packed(tmp_path, kind, content))
    wrong = []

    def read_shuffled(seed):
        order = np.array(random.Random(seed).sample(range(50), 50))
        for member, reader in zip(order, listing.contents.readers(order), strict=True):
            if reader() != content[listing.files[member]]:
                wrong.append(member)

    threads = [threading.Thread(target=read_shuffled, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_folder_entries_and_names_are_normal(tmp_path, kind):
    path = tmp_path / "data"
    names = ["./a/1.jpg", "/b//2.jpg", "../c/3.jpg"]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("empty/", b"")
            for name in names:
                archive.writestr(name, b"x")
    else:
        with tarfile.open(path, "w") as archive:
            add(archive, "./empty", type=tarfile.DIRTYPE)
            for name in names:
                add(archive, name, b"x")
    listing = open_listing(path)
    assert list(listing.files) == ["a/1.jpg", "b/2.jpg", "c/3.jpg"]
    assert listing.folders == ["empty"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]  # nothing was unpacked


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_of_two_members_with_one_name_the_later_counts(tmp_path, kind):
    path = tmp_path / f"data.{kind}"
    members = [("a/1.jpg", b"old"), ("a/2.jpg", b"two"), ("a/1.jpg", b"new")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in members:
                    archive.writestr(name, data)
        else:
            with tarfile.open(path, TARS[kind]) as archive:
                for name, data in members:
                    add(archive, name, data)
    listing = open_listing(path)
    assert read_all(listing) == {"a/1.jpg": b"new", "a/2.jpg": b"two"}
    if kind != "zip":  # in the order of storage, so that one pass forward reads all
        assert list(listing.files) == ["a/2.jpg", "a/1.jpg"]


def test_symlink_loops_end_and_links_are_followed(tmp_path):
    root = tmp_path / "root"
    elsewhere = tmp_path / "elsewhere"
    (root / "cats").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "cats" / "1.jpg").write_bytes(b"1")
    (elsewhere / "2.jpg").write_bytes(b"2")
    (root / "cats" / "up").symlink_to(root)
    (root / "cats" / "self").symlink_to(root / "cats")
    (root / "around").symlink_to(root / "around")
    (root / "dogs").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root / "cats")
    listing = open_listing(root)
    # "around" points at itself: no folder, and reading it fails like that of any broken link
    assert listing.files == ["around", "cats/1.jpg", "dogs/2.jpg", "dogs/back/1.jpg"]


def test_long_names_in_both_tar_dialects(tmp_path):
    name = "/".join(["a" * 60] * 5) + "/ü.jpg"
    for dialect in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{dialect}.tar.gz"
        with tarfile.open(path, "w:gz", format=dialect) as archive:
            add(archive, name, b"long")
            add(archive, "b/1.jpg", b"short")
        assert read_all(open_listing(path)) == {name: b"long", "b/1.jpg": b"short"}


# --- errors ---


def refused(path):
    with pytest.raises(InputError) as caught:
        open_listing(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_path(tmp_path):
    assert "No such file" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"PNG?", b"7z\xbc\xaf\x27\x1c" + bytes(600)])
def test_neither_folder_nor_archive(tmp_path, data):
    path = tmp_path / "data.zip"
    path.write_bytes(data)
    assert "neither a folder nor a zip or tar" in refused(path)


BIG = {f"cats/{i:03}.jpg": random.Random(i).randbytes(700) for i in range(60)}


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_archive(tmp_path, kind, share):
    path = packed(tmp_path, kind, BIG)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "damaged or incomplete" in refused(path)


def test_tar_cut_between_two_members(tmp_path):
    path = packed(tmp_path, "tar", BIG)
    path.write_bytes(path.read_bytes()[: 1536 * 20])  # 20 members of one header and two blocks
    assert "damaged or incomplete" in refused(path)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.bz2"])
def test_damage_in_the_middle_of_a_compressed_tar(tmp_path, kind):
    path = packed(tmp_path, kind, BIG)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert "damaged or incomplete" in refused(path)


def test_damaged_header_in_the_middle_of_a_tar(tmp_path):
    path = packed(tmp_path, "tar", BIG)
    data = bytearray(path.read_bytes())
    data[1536 * 20 : 1536 * 20 + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert "at byte 30720" in refused(path)


def test_compressed_file_that_is_no_tar(tmp_path):
    import gzip

    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 200))
    assert "damaged or incomplete" in refused(path)


def test_damaged_member_of_a_zip_is_an_error_of_its_own(tmp_path):
    path = packed(tmp_path, "zip", BIG)
    data = bytearray(path.read_bytes())
    place = data.index(BIG["cats/003.jpg"][:40])
    data[place] ^= 0xFF
    path.write_bytes(data)
    listing = open_listing(path)
    readers = dict(zip(listing.files, listing.contents.readers(np.arange(len(BIG))), strict=True))
    with pytest.raises(OSError, match="CRC"):
        readers["cats/003.jpg"]()
    assert readers["cats/004.jpg"]() == BIG["cats/004.jpg"]


def test_encrypted_zip(tmp_path):
    path = packed(tmp_path, "zip")
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1  # the flag in the central directory
    path.write_bytes(data)
    assert "encrypted" in refused(path)


@pytest.mark.parametrize("type", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_in_a_tar(tmp_path, type):
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a/1.jpg", b"x")
        add(archive, "a/2.jpg", type=type)
    assert "--dereference" in refused(path)


def test_archive_that_changes_after_listing(tmp_path):
    path = packed(tmp_path, "tar.gz", BIG)
    listing = open_listing(path)
    packed(tmp_path, "tar.gz", {"a": b"small"})
    with pytest.raises(InputError, match="has changed"):
        read_all(listing)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_found_by_content_not_by_name(tmp_path, kind):
    path = packed(tmp_path, kind).rename(tmp_path / "renamed")
    assert kind_of(path) == kind.removeprefix("tar.")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error")
def test_no_handle_is_left_open(tmp_path, kind):
    path = packed(tmp_path, kind, BIG)
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()  # noqa: PTH112, PTH208
    listing = open_listing(path)
    readers = listing.contents.readers(np.arange(10))
    next(readers)()
    readers.close()
    del listing, readers
    gc.collect()
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def test_a_zip_whose_names_are_no_utf8_is_damaged(tmp_path):
    path = packed(tmp_path, "zip")
    data, name = path.read_bytes(), "ä b.jpg".encode()
    path.write_bytes(data.replace(name, b"\xff" + name[1:]))
    with pytest.raises(InputError, match="cannot be read to its end"):
        open_listing(path)
    at = data.index(name)  # the name before the data alone, which is read when the data are
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    listing = open_listing(path)
    (read,) = listing.contents.readers(np.array([listing.files.index("photos/dogs/ä b.jpg")]))
    with pytest.raises(OSError, match="utf-8"):
        read()

"""The index of files: what it remembers, and above all what it must not trust."""

import hashlib
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.machine import file_index as index_module
from pipelines.machine.file_index import FileIndex, index_path
from transfer.images.digests import UNREADABLE, file_digests, image_digests
from transfer.images.remote import RemoteFile
from transfer.images.sources import DataOptions, digest, load

HOUR = 3600 * 10**9  # nanoseconds


@pytest.fixture
def clock(monkeypatch):
    """Lets the index believe that so many nanoseconds more have passed; an hour at first."""

    def advance(nanoseconds):
        monkeypatch.setattr(index_module, "time_ns", lambda: time.time_ns() + nanoseconds)

    advance(HOUR)
    return advance


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read since the list was last cleared."""
    names = []

    def record(paths):
        names.extend(Path(path).name for path in paths)
        return file_digests(paths)

    monkeypatch.setattr(index_module, "file_digests", record)
    return names


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "photos"
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            (folder / name / f"{name}{number}.png").write_bytes(f"{name} {number}".encode())
    return sorted(folder.rglob("*.png"))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "artifacts" / "index" / "photos.npz"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stored(place):
    if not place.exists():
        return {}
    with np.load(place) as index:
        assert json.loads(index["about"].tobytes())["format"].startswith("cached-transfer")
        columns = {name: index[name].tobytes().decode() for name in index.files}
    if not columns["names"]:
        return {}
    words = [columns[name].split("\0") for name in ("names", "digests", "states")]
    return {name: f"{digest} {state}" for name, digest, state in zip(*words, strict=True)}


def test_unchanged_files_are_read_once(paths, place, clock, read):
    expected = [sha256(path) for path in paths]
    index = FileIndex(place)
    assert index(paths) == expected
    assert sorted(read) == [path.name for path in paths]
    read.clear()
    assert index(paths) == expected
    assert FileIndex(place)(paths[::-1]) == expected[::-1]
    assert read == []
    assert list(stored(place)) == [str(path) for path in paths]
    assert [entry[:64] for entry in stored(place).values()] == expected


def test_it_is_saved_only_when_something_changed(paths, place, clock):
    FileIndex(place)(paths)
    before = place.stat()
    index = FileIndex(place)
    index(paths)
    index(paths[:2])
    assert place.stat().st_ino == before.st_ino
    paths[0].write_bytes(b"new")
    index(paths)
    assert place.stat().st_ino != before.st_ino
    assert [path.name for path in place.parent.iterdir()] == ["photos.npz"]


def test_changed_added_and_removed_files(paths, place, clock, read):
    FileIndex(place)(paths)
    read.clear()
    paths[1].write_bytes(b"another length")
    added = paths[0].with_name("added.png")
    added.write_bytes(b"added")
    gone = paths.pop(3)
    gone.unlink()
    now = [*paths, added]
    assert FileIndex(place)(now) == [sha256(path) for path in now]
    assert sorted(read) == sorted([paths[1].name, "added.png"])
    assert set(stored(place)) == {str(path) for path in now}


def test_a_removed_file_alone_is_dropped(paths, place, clock):
    FileIndex(place)(paths)
    paths[0].unlink()
    FileIndex(place)(paths[1:])
    assert set(stored(place)) == {str(path) for path in paths[1:]}


def test_files_that_are_merely_not_asked_for_stay(paths, place, clock, read):
    FileIndex(place)(paths)
    read.clear()
    index = FileIndex(place)
    index(paths[:2])
    paths[0].write_bytes(b"new")
    index(paths[:2])
    FileIndex(place)(paths)
    assert read == [paths[0].name]


def test_relative_and_absolute_paths_are_one(paths, place, clock, read, monkeypatch):
    FileIndex(place)(paths)
    read.clear()
    monkeypatch.chdir(paths[0].parents[1])
    relative = [path.relative_to(Path.cwd()) for path in paths]
    assert FileIndex(place)(relative) == [sha256(path) for path in paths]
    assert read == []


def test_unreadable_files_are_not_remembered(paths, place, clock, read):
    FileIndex(place)(paths)
    paths[0].unlink()
    paths[0].symlink_to("nowhere")
    for _ in range(2):
        read.clear()
        assert FileIndex(place)(paths)[0] == UNREADABLE
        assert read == [paths[0].name]
    assert str(paths[0]) not in stored(place)
    (paths[0].parent / "nowhere").write_bytes(b"here now")
    assert FileIndex(place)(paths)[0] == hashlib.sha256(b"here now").hexdigest()


def test_names_that_are_not_utf8(tmp_path, place, clock, read):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    path.write_bytes(b"x")
    for _ in range(2):
        assert FileIndex(place)([path]) == [sha256(path)]
    assert len(read) == 1


# --- what must not be trusted ---


def test_a_file_changed_just_before_it_was_read_is_not_trusted(paths, place, clock, read):
    clock(0)
    for path in paths:
        os.utime(path, ns=(0, 0))  # sets the ctime to now; the mtime alone looks old
    FileIndex(place)(paths)
    assert stored(place) == {}
    read.clear()
    assert FileIndex(place)(paths) == [sha256(path) for path in paths]
    assert len(read) == len(paths)


def test_a_change_that_leaves_no_trace_within_the_racy_window_is_noticed(
    paths, place, clock, monkeypatch
):
    """All that the system says of the file stays the same, as within one tick of its clock."""
    clock(0)
    path = paths[0]
    state = index_module.state_of(str(path))
    monkeypatch.setattr(index_module, "state_of", lambda name: state)
    FileIndex(place)([path])
    path.write_bytes(b"CATS 0")
    assert FileIndex(place)([path]) == [hashlib.sha256(b"CATS 0").hexdigest()]


@pytest.mark.parametrize(("seconds", "is_trusted"), [(1.5, False), (2.5, True)])
def test_the_racy_window_is_two_seconds(paths, place, monkeypatch, seconds, is_trusted):
    changed = paths[0].stat().st_ctime_ns
    monkeypatch.setattr(index_module, "time_ns", lambda: changed + int(seconds * 1e9))
    FileIndex(place)(paths[:1])
    assert bool(stored(place)) == is_trusted


def test_an_mtime_in_the_future_is_not_trusted(paths, place, clock):
    later = time.time_ns() + 2 * HOUR
    os.utime(paths[0], ns=(later, later))
    FileIndex(place)(paths)
    assert set(stored(place)) == {str(path) for path in paths[1:]}


def test_a_change_behind_which_the_mtime_was_put_back_is_noticed(paths, place, clock):
    FileIndex(place)(paths)
    before = paths[0].stat()
    time.sleep(0.02)  # more than one tick, or the ctime could be the same
    paths[0].write_bytes(b"CATS 0")
    os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = paths[0].stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert FileIndex(place)(paths)[0] == hashlib.sha256(b"CATS 0").hexdigest()


def test_a_touched_file_is_read_again_and_has_the_same_digest(paths, place, clock, read):
    first = FileIndex(place)(paths)
    read.clear()
    os.utime(paths[2])
    assert FileIndex(place)(paths) == first
    assert FileIndex(place)(paths) == first
    assert read == [paths[2].name]


def test_a_file_changed_while_it_is_read_is_read_again(paths, place, clock, monkeypatch):
    def change_and_read(some):
        time.sleep(0.02)
        paths[0].write_bytes(b"CATS 0")
        found = file_digests(some)
        paths[0].write_bytes(b"Cats 0")
        return found

    monkeypatch.setattr(index_module, "file_digests", change_and_read)
    FileIndex(place)(paths)
    monkeypatch.setattr(index_module, "file_digests", file_digests)
    assert FileIndex(place)(paths)[0] == hashlib.sha256(b"Cats 0").hexdigest()


def test_folders_of_like_files_that_traded_names_are_noticed(tmp_path, place, clock):
    paths = [tmp_path / name / "1.bmp" for name in ("cats", "dogs")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
    for _ in range(1000):
        for path in paths:
            os.utime(path, ns=(0, 0))
        if paths[0].stat().st_ctime_ns == paths[1].stat().st_ctime_ns:
            break
    else:
        pytest.skip("this file system's clock ticks too fast for two files of one ctime")
    cats, dogs = FileIndex(place)(paths)
    (tmp_path / "cats").rename(tmp_path / "other")
    (tmp_path / "dogs").rename(tmp_path / "cats")
    (tmp_path / "other").rename(tmp_path / "dogs")
    assert FileIndex(place)(paths) == [dogs, cats]


# --- rehash ---


def test_rehash_reads_and_records_anew(paths, place, clock, read):
    FileIndex(place)(paths)
    with np.load(place) as index:
        columns = {name: index[name].copy() for name in index.files}
    columns["digests"][:64] = ord("0")
    np.savez(place, **columns)
    assert FileIndex(place)(paths)[0] == "0" * 64
    read.clear()
    index = FileIndex(place, rehash=True)
    assert index(paths)[0] == sha256(paths[0])
    assert len(read) == len(paths)
    assert index(paths)[0] == sha256(paths[0])
    assert FileIndex(place)(paths)[0] == sha256(paths[0])
    assert len(read) == len(paths)


def test_rehash_forgets_even_where_nothing_can_be_recorded(paths, place, clock):
    FileIndex(place)(paths)
    clock(-HOUR)
    FileIndex(place, rehash=True)(paths)
    assert stored(place) == {}


# --- an index that is no use ---


def others(place, folder):
    """What may lie in the place of an index and is none."""
    whole = place.read_bytes()
    yield from (b"", b"{", whole[: len(whole) // 2], b"\xff\xfe\x00", b"7", b"PK\x03\x04")
    for at in np.random.default_rng(0).integers(0, len(whole), 40):
        flipped = bytearray(whole)
        flipped[at] ^= 16
        yield bytes(flipped)
    with np.load(place) as index:
        columns = dict(index)
        about = columns.pop("about").tobytes()
    foreign = folder / "foreign.npz"
    for told, arrays in (
        (about.replace(b"index 2", b"index 0"), columns),
        (b"[]", columns),
        (about, {"others": columns["names"]}),
        (about, {"names": columns["names"], "states": columns["states"]}),
    ):
        np.savez(foreign, about=np.frombuffer(told, np.uint8), **arrays)
        yield foreign.read_bytes()


def test_a_damaged_or_foreign_index_is_rebuilt(paths, place, clock, read, tmp_path):
    expected = FileIndex(place)(paths)
    known = stored(place)
    for data in list(others(place, tmp_path)):
        place.write_bytes(data)
        read.clear()
        assert FileIndex(place)(paths) == expected, data[:99]
        assert len(read) in (0, len(paths)), "a bit that nothing depends on may flip unseen"
        assert stored(place) == known


@pytest.mark.parametrize("obstacle", ["a file for a folder", "a folder for the index", "read-only"])
def test_an_index_that_cannot_be_kept_stops_nothing(paths, place, clock, read, obstacle):
    if obstacle == "a file for a folder":
        place.parent.parent.write_bytes(b"")
    elif obstacle == "a folder for the index":
        place.mkdir(parents=True)
    elif os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    else:
        place.parent.mkdir(parents=True)
        place.parent.chmod(0o500)
    index = FileIndex(place)
    for _ in range(2):
        assert index(paths) == [sha256(path) for path in paths]
    assert len(read) == len(paths)  # this object remembers all the same


def test_a_full_disk_stops_nothing(paths, place, clock, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert FileIndex(place)(paths) == [sha256(path) for path in paths]
    assert list(place.parent.iterdir()) == []


# --- with the rest ---


def test_data_and_images_are_digested_without_reading_a_file(paths, place, clock, read):
    options = DataOptions(data=str(paths[0].parents[1]), val_fraction=0.0, test_fraction=0.0)
    index = FileIndex(place)
    assert digest(options, index) == digest(options)
    images = load(options)
    expected = image_digests(images)
    read.clear()
    index = FileIndex(place)
    assert digest(options, index) == digest(options)
    np.testing.assert_array_equal(image_digests(images, index), expected)
    np.testing.assert_array_equal(
        image_digests(images.subset(np.array([0, 4])), index), expected[[0, 4]]
    )
    assert read == []


def test_an_archive_and_the_digits_are_remembered_too(tmp_path, place, clock, read):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cats/1.png", b"x")
    for data in (str(path), "digits"):
        expected = digest(DataOptions(data=data))
        for _ in range(2):
            assert digest(DataOptions(data=data), FileIndex(place)) == expected
    assert read == ["photos.zip", "digits.csv.gz"]


def test_index_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("index")
    photos = index_path(folder, "photos", "files")
    expected = hashlib.sha256(str(tmp_path / "photos").encode()).hexdigest()[:8]
    assert photos == folder / f"photos-{expected}.files.npz"
    assert index_path(folder, str(tmp_path / "photos"), "files") == photos
    assert index_path(folder, "./photos/", "files") == photos
    others = [
        index_path(folder, data, "files")
        for data in ("a/photos", "photos.zip", "cifar10", "/", ".")
    ]
    assert len({photos, *others, index_path(folder, "photos", "images")}) == 7
    for data in ("x" * 200, "ü " * 120, "a\nb", "-", "\udcff"):
        place = index_path(tmp_path, data, "files")
        place.write_text("it is a name of a file")
        assert place.parent == tmp_path
    assert index_path(folder, "/", "files").name.startswith("data-")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert index_path(folder, "~/photos", "files") == photos


# --- behind an address ---


class Bucket:
    """A file system that counts what is read of it."""

    def __init__(self):
        self.read = []

    def unstrip_protocol(self, path):
        return f"s3://{path}"

    def cat_file(self, path):
        self.read.append(path)
        return path.encode()


def test_remote_files_are_read_again_only_where_their_state_is_another(place, clock):
    bucket = Bucket()

    def files(**info):
        return [RemoteFile(bucket, name, {"size": 1} | info) for name in ("b/1", "b/2")]

    expected = [hashlib.sha256(name).hexdigest() for name in (b"b/1", b"b/2")]
    for info, reads in (
        ({"ETag": "x"}, 2),
        ({"ETag": "x"}, 0),
        ({"ETag": "y"}, 2),
        ({"mtime": 5.0}, 2),
        ({"mtime": 5.0}, 0),
        ({}, 2),  # nothing that would tell
        ({}, 2),
    ):
        bucket.read.clear()
        assert FileIndex(place)(files(**info)) == expected
        assert len(bucket.read) == reads, info
    assert FileIndex(place)(files(ETag="x")[:1]) == expected[:1]
    assert list(stored(place)) == ["s3://b/1"]


def test_a_remote_file_changed_just_now_is_not_trusted(place, clock):
    clock(0)
    bucket = Bucket()
    file = RemoteFile(bucket, "b/1", {"size": 1, "mtime": time.time()})
    FileIndex(place)([file])
    FileIndex(place)([file])
    assert len(bucket.read) == 2


def test_an_address_is_the_same_index_from_every_folder(tmp_path, monkeypatch):
    here = index_path(tmp_path, "s3://bucket/photos/", "files")
    monkeypatch.chdir(tmp_path)
    assert index_path(tmp_path, "s3://bucket/photos/", "files") == here
    assert here.name.startswith("photos-")
    assert index_path(tmp_path, "s3://other/photos/", "files") != here

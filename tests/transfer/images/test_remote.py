"""Addresses: listed, read and told apart through fsspec; its memory stands for a bucket."""

import io
import os
import tarfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.transfer.images.test_sources import PLAIN, picture, refused, write
from transfer.images.digests import UNREADABLE, file_digests, image_digests
from transfer.images.downloads import downloaded
from transfer.images.remote import RemoteFile, is_address, list_folder, local_copy
from transfer.images.sources import DataOptions, data_name, digest, groups_in, load

fsspec = pytest.importorskip("fsspec", reason="needs the package fsspec")
NONE = {"val_fraction": 0.0, "test_fraction": 0.0}


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


@pytest.fixture
def bucket():
    """An address of its own for each test, since the memory is one for all."""
    return f"memory://{uuid.uuid4().hex}"


def upload(bucket, files):
    for name, data in files.items():
        if data is not None:
            fsspec.filesystem("memory").pipe_file(f"{bucket}/{name}", data)
    return bucket


def pixels_of(images):
    return [image.tolist() for _, image in images.stream()]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_folder_is_what_it_would_be_here(tmp_path, bucket, kind):
    local = load(write(tmp_path, "folder", PLAIN))
    address = upload(bucket, PLAIN) if kind == "memory" else f"file://{tmp_path}/my.photos"
    remote = load(DataOptions(address, **NONE))
    assert list(remote.ids) == list(local.ids)
    assert remote.class_names == local.class_names
    assert pixels_of(remote) == pixels_of(local)
    np.testing.assert_array_equal(image_digests(remote), image_digests(local))
    assert digest(DataOptions(address)) == digest(DataOptions(str(tmp_path / "my.photos")))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_fetched_once(tmp_path, bucket, kind, monkeypatch):
    local = write(tmp_path, kind, PLAIN)
    address = f"file://{local.data}"
    os.utime(local.data, (time.time() - 60,) * 2)
    fetched = []
    get_file = fsspec.implementations.local.LocalFileSystem.get_file

    def record(self, path, *rest, **more):
        fetched.append(path)
        return get_file(self, path, *rest, **more)

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "get_file", record)
    monkeypatch.setattr("transfer.images.remote.time_ns", lambda: time.time_ns() + 10**10)
    options = DataOptions(address, **NONE)
    assert pixels_of(load(options)) == pixels_of(load(local))
    assert digest(options) == digest(local)
    assert len(fetched) == 1
    os.utime(local.data, (time.time() - 30,) * 2)
    load(options)
    assert len(fetched) == 2


def test_a_table_and_its_images(tmp_path, bucket):
    table = b"file,label,patient\nx/1.png,a,P1\nx/2.png,b,P2\n"
    upload(bucket, {"t.csv": table, "x/1.png": picture(1), "x/2.png": picture(2)})
    options = DataOptions(f"{bucket}/t.csv", **NONE)
    images = load(options)
    assert list(images.ids) == ["x/1.png", "x/2.png"]
    assert [int(image[0, 0, 0]) for _, image in images.stream()] == [1, 2]
    assert list(groups_in(images.ids, options)) == ["P1", "P2"]
    here = tmp_path / "t.csv"
    here.write_bytes(table)
    assert digest(DataOptions(str(here), bucket)) == digest(options)
    here.write_bytes(table + b"x/3.png,a,P1\n")
    assert "received 1 missing files: x/3.png" in refused(DataOptions(str(here), bucket))


def test_what_cannot_be_opened_is_one_line(bucket, monkeypatch):
    assert f"expected files below {bucket}, received none" in refused(DataOptions(bucket))
    assert "cannot be read" in refused(DataOptions(f"{bucket}/photos.zip"))
    assert "cannot be opened: Protocol not known: nosuch" in refused(DataOptions("nosuch://x"))
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert "pip install cached-transfer[remote]" in refused(DataOptions(bucket))


def test_a_file_that_cannot_be_read_is_none_of_the_others(bucket):
    upload(bucket, {"a/1.png": picture(1), "b/1.png": picture(2)})
    folder = list_folder(bucket)
    fsspec.filesystem("memory").rm(f"{bucket}/a/1.png")
    assert file_digests([folder / "a/1.png"]) == [UNREADABLE]
    assert file_digests([folder / "b/1.png"]) != [UNREADABLE]


# --- what tells a content from another ---


def state(**info):
    return RemoteFile(None, "x", info).state()


def test_a_state_is_of_contents_before_times():
    assert state(size=3) == ("", 0)
    assert state() == ("", 0)
    first, changed = state(size=3, ETag="x", LastModified=datetime.now(UTC))
    assert (first, changed) == state(size=3, ETag="x", LastModified=datetime(2020, 1, 1))
    assert first != state(size=3, ETag="y")[0]
    assert first != state(size=4, ETag="x")[0]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), 1767225600),
        (1767225600.0, 1767225600),
        ("2026-01-01T00:00:00Z", 1767225600),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 1767225600),
        ("yesterday", (1 << 63) / 1e9),
    ],
)
def test_times_of_every_form_are_understood(time, seconds):
    told, changed = state(size=3, mtime=time)
    assert changed == int(seconds * 1e9) or seconds > 2e9
    assert told != state(size=3, mtime="another")[0]


def test_a_download_that_fails_leaves_what_would_be_taken_for_whole_nowhere(keras_home):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError("broken off")

    address = "s3://bucket/x.zip"
    copy = downloaded(address, "1", lambda path: path.write_bytes(b"whole"))
    assert copy.name == "x.zip"
    with pytest.raises(OSError, match="broken off"):
        downloaded(address, "2", fail)
    assert [path.name for path in copy.parent.iterdir()] == ["x.zip"]
    assert downloaded(address, "2", lambda path: path.write_bytes(b"new")).read_bytes() == b"new"
    assert downloaded(address, "2", fail).read_bytes() == b"new"
    with pytest.raises(OSError, match="broken off"):
        downloaded(address, "", fail)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("s3://bucket/photos/", "photos"), ("hf://datasets/a/b/photos.tar.gz", "photos"),
        ("https://example.org/t.csv", "t"),
    ],
)  # fmt: skip
def test_addresses_and_names(data, name):
    assert is_address(data)
    assert not is_address(name)
    assert data_name(DataOptions(data)) == name


def test_a_copy_has_the_suffix_that_says_what_it_is(bucket):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w"):
        pass
    upload(bucket, {"x.tar": file.getvalue()})
    assert Path(local_copy(f"{bucket}/x.tar")).read_bytes() == file.getvalue()

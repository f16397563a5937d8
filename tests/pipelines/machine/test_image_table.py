"""What a compressed tar holds is found in one pass, and remembered as long as it is the same."""

import hashlib
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.extracting.listing import list_images
from pipelines.machine import listing_index as listing_module
from pipelines.machine.listing_index import ListingIndex
from pipelines.setup import Setup
from tests.pipelines.small_runs import photographs
from transfer.errors import InputError
from transfer.images import archives
from transfer.images.digests import image_digests
from transfer.images.sources import DataOptions

KINDS = ("gz", "xz", "bz2")


def packed(folder, kind="gz", name="photos"):
    path = folder.with_name(f"{name}.tar.{kind}")
    with tarfile.open(path, f"w:{kind}") as archive:
        archive.add(folder, "photos")
    long_ago(path)
    return path


def long_ago(path, seconds=10_000):
    """As if it had been written then: what was changed just now is not remembered."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def damage(path, place, bit, cut):
    """Cuts a file off at a place, or flips a bit there."""
    content = bytearray(path.read_bytes())
    where = int(place * len(content))
    if cut:
        del content[where:]
    else:
        content[where] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture(autouse=True)
def all_are_settled(monkeypatch):
    """A change of times is a change of the inode as well, which is always of now."""
    monkeypatch.setattr(listing_module, "SETTLED", 0)


@pytest.fixture
def photos(tmp_path):
    return photographs(tmp_path / "photos", count=6)


@pytest.fixture
def opened(monkeypatch):
    """Paths of the tars that are opened, at each pass through one."""
    paths = []
    real = archives._open_tar

    def noted(path, compression):
        paths.append(path.name)
        return real(path, compression)

    monkeypatch.setattr(archives, "_open_tar", noted)
    return paths


def setup_of(path, **options):
    return Setup(DataOptions(str(path)), artifacts=path.parent / "artifacts", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_lists_digests_and_looks_at_the_heads(photos, opened, kind):
    (photos / "cat" / "000.png").write_bytes(b"none")
    path = packed(photos, kind)
    listed = list_images(setup_of(path))
    assert opened == [path.name]
    expected = [hashlib.sha256((photos / id).read_bytes()).digest() for id in listed.images.ids]
    assert [digest.tobytes() for digest in listed.digests] == expected
    assert [image.id for image in listed.bad_heads] == ["cat/000.png"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_run_makes_no_pass_and_finds_the_same(photos, opened, kind):
    (photos / "dog" / "001.png").write_bytes(b"")
    path = packed(photos, kind)
    first = list_images(setup_of(path))
    opened.clear()
    second = list_images(setup_of(path))
    assert opened == []
    for name in ("ids", "labels", "split", "members"):
        np.testing.assert_array_equal(getattr(first.images, name), getattr(second.images, name))
    np.testing.assert_array_equal(first.digests, second.digests)
    assert [str(one) for one in first.bad_heads] == [str(one) for one in second.bad_heads]
    np.testing.assert_array_equal(first.images.read(0), second.images.read(0))
    assert opened == [path.name] * 2


def test_another_content_of_the_same_size_and_time_is_listed_anew(photos):
    path = packed(photos)
    first = list_images(setup_of(path))
    (photos / "cat" / "000.png").write_bytes((photos / "dog" / "000.png").read_bytes())
    other = packed(photos, name="other")
    os.utime(other, (path.stat().st_atime, path.stat().st_mtime))
    other.replace(path)
    second = list_images(setup_of(path))
    assert (first.digests != second.digests).any()
    assert image_digests(archives_images(path)).tolist() == second.digests.tolist()


def archives_images(path):
    from transfer.images.sources import load_as_given

    return load_as_given(DataOptions(str(path)))


def test_rehash_lists_anew(photos, opened):
    path = packed(photos)
    list_images(setup_of(path))
    opened.clear()
    list_images(setup_of(path, rehash=True))
    assert opened == [path.name]


def test_an_archive_changed_just_now_is_not_remembered(photos, opened, monkeypatch):
    monkeypatch.setattr(listing_module, "SETTLED", 2_000_000_000)
    path = packed(photos)
    list_images(setup_of(path))
    list_images(setup_of(path))
    assert opened == [path.name] * 2


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_index_is_as_good_as_none(tmp_path_factory, place, bit, cut):
    folder = tmp_path_factory.mktemp("damage")
    path = packed(photographs(folder / "photos", count=2))
    index = ListingIndex(folder / "index.npz")
    whole = index(path)
    damage(index.path, place, bit, cut)
    again = index(path)
    assert again.files == whole.files
    assert again.folders == whole.folders
    for name in ("offsets", "sizes", "digests"):
        np.testing.assert_array_equal(getattr(again.contents, name), getattr(whole.contents, name))
    assert again.contents.bad_heads == whole.contents.bad_heads


def test_an_index_that_cannot_be_written_is_none(photos, opened):
    path = packed(photos)
    (path.parent / "artifacts").mkdir()
    (path.parent / "artifacts" / "index").write_text("a file in its place")
    assert len(list_images(setup_of(path)).images) == 12
    assert opened == [path.name]


@pytest.mark.parametrize("name", ["photos", "photos.tar", "photos.zip"])
def test_what_is_read_in_any_order_is_listed_each_time(photos, name):
    path = photos
    if name != "photos":
        kind = name.rpartition(".")[2]
        path = Path(shutil.make_archive(str(photos), kind, photos))
    setup = setup_of(path)
    list_images(setup)
    there = {path.name for path in (setup.artifacts / "index").glob("*.npz")}
    assert all(name.endswith(".images.npz") for name in there)


def test_errors_are_those_of_the_listing(photos):
    path = packed(photos)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="cannot be read to its end"):
        list_images(setup_of(path))
    with pytest.raises(InputError, match="expected a folder or an archive"):
        list_images(setup_of(path.with_name("absent.tar.gz")))


def test_a_limited_part_is_served_by_the_same_listing(photos, opened):
    path = packed(photos)
    setup = setup_of(path)
    whole = list_images(setup)
    opened.clear()
    part = list_images(
        replace(setup, data=replace(setup.data, limit_per_class=5, val_fraction=0.4))
    )
    assert opened == []
    rows = {id: row for row, id in enumerate(whole.images.ids)}
    chosen = [rows[id] for id in part.images.ids]
    np.testing.assert_array_equal(part.digests, whole.digests[chosen])

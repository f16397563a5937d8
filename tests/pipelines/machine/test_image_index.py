"""Images of archives are read for their digests once, and again where the archive changed."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.extracting import listing
from pipelines.extracting.listing import list_images
from pipelines.machine.image_index import ImageIndex
from pipelines.setup import Setup
from tests.pipelines.machine.test_image_table import damage
from tests.pipelines.small_runs import photographs
from tests.transfer.images.test_tar_shards import samples, tar
from transfer.images import digests
from transfer.images.archives import TarFiles, ZipFiles
from transfer.images.sources import DataOptions

KINDS = ("tar", "zip", "shards")
RNG = np.random.default_rng(0)
IDS = np.array([f"{number}.jpg" for number in range(20)], object)
TABLE = RNG.integers(0, 256, (20, 32), np.uint8)


def setup_of(path, **options):
    return Setup(DataOptions(str(path)), artifacts=path.parent / "artifacts", **options)


@pytest.fixture
def reads(monkeypatch):
    """Member numbers of the images that are read."""
    found = []
    for kind, name in ((TarFiles, "read"), (ZipFiles, "_read")):
        real = getattr(kind, name)

        def noted(self, member, real=real):
            found.append(member)
            return real(self, member)

        monkeypatch.setattr(kind, name, noted)
    return found


def made(kind, folder):
    """An archive of 30 images."""
    if kind == "shards":
        for number in range(3):
            numbers = range(10 * number, 10 * number + 10)
            tar(folder / "shards" / f"{number}.tar", samples(numbers))
        return folder / "shards"
    photos = photographs(folder / "photos", count=15)
    return Path(shutil.make_archive(str(photos), kind, photos))


def contents_of(listed):
    return [
        hashlib.sha256(reader()).digest()
        for reader in listed.images.source.readers(listed.images.members)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_digests_are_those_of_the_files_and_read_once(kind, tmp_path, reads):
    path = made(kind, tmp_path)
    first = list_images(setup_of(path))
    assert [digest.tobytes() for digest in first.digests] == contents_of(first)
    reads.clear()
    second = list_images(setup_of(path))
    labels = 30 if kind == "shards" else 0  # what is beside the images says their classes
    assert len(reads) == labels
    np.testing.assert_array_equal(first.digests, second.digests)


@pytest.mark.parametrize("large", [0, 2**20])
def test_many_images_are_digested_in_their_order(large, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_CHUNK", 3)
    monkeypatch.setattr(digests, "_AHEAD", 2)
    monkeypatch.setattr(digests, "_LARGE", large)
    listed = list_images(setup_of(made("zip", tmp_path)))
    assert [digest.tobytes() for digest in listed.digests] == contents_of(listed)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_bad_heads_are_remembered_in_the_order_of_rows(kind, tmp_path, reads):
    photos = photographs(tmp_path / "photos", count=15)
    bad = ["cat/001.png", "cat/007.png", "dog/000.png"]
    for id in bad:
        (photos / id).write_bytes(b"none")
    path = Path(shutil.make_archive(str(photos), kind, photos))
    first = list_images(setup_of(path))
    reads.clear()
    second = list_images(setup_of(path))
    assert not reads
    for listed in (first, second):
        assert [image.id for image in listed.bad_heads] == bad
    assert [str(one) for one in first.bad_heads] == [str(one) for one in second.bad_heads]


@pytest.mark.parametrize("kind", KINDS)
def test_another_content_is_read_anew(kind, tmp_path, reads):
    first = list_images(setup_of(made(kind, tmp_path / "one")))
    path = made(kind, tmp_path / "two")
    before = list_images(setup_of(path)).digests
    np.testing.assert_array_equal(before, first.digests)
    if kind == "shards":
        tar(path / "2.tar", samples(range(40, 50)))
    else:
        photos = tmp_path / "two" / "photos"
        (photos / "cat" / "003.png").write_bytes((photos / "dog" / "003.png").read_bytes())
        shutil.make_archive(str(photos), kind, photos)
    changed = list_images(setup_of(path, rehash=True))
    assert [digest.tobytes() for digest in changed.digests] == contents_of(changed)
    assert (changed.digests != before).any()


def test_an_archive_that_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    path = made("tar", tmp_path / "one")
    original, other = path.read_bytes(), tmp_path / "other.tar"
    photos = tmp_path / "one" / "photos"
    (photos / "cat" / "003.png").write_bytes((photos / "dog" / "003.png").read_bytes())
    shutil.make_archive(str(other.with_suffix("")), "tar", photos)
    real = listing.image_digests

    def change(*rest):
        path.write_bytes(other.read_bytes())
        return real(*rest)

    monkeypatch.setattr(listing, "image_digests", change)
    list_images(setup_of(path))
    monkeypatch.setattr(listing, "image_digests", real)
    path.write_bytes(original)
    listed = list_images(setup_of(path))
    assert [digest.tobytes() for digest in listed.digests] == contents_of(listed)


def test_a_part_of_the_images_is_not_taken_for_all(tmp_path):
    setup = setup_of(made("tar", tmp_path))
    whole = list_images(setup)
    part = list_images(replace(setup, data=replace(setup.data, limit_per_class=5)))
    assert len(part.digests) == 10
    assert [digest.tobytes() for digest in part.digests] == contents_of(part)
    np.testing.assert_array_equal(list_images(setup).digests, whole.digests)


def test_other_ids_or_contents_are_not_known(tmp_path):
    index = ImageIndex(tmp_path / "index" / "x.npz", "content", IDS)
    assert index.load() is None
    index.save(TABLE, {"3.jpg": "none"})
    table, bad = index.load()
    np.testing.assert_array_equal(table, TABLE)
    assert bad == {"3.jpg": "none"}
    assert replace(index, content="other").load() is None
    assert replace(index, ids=IDS[::-1]).load() is None


def test_an_index_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "index").write_text("a file in its place")
    ImageIndex(tmp_path / "index" / "x.npz", "content", IDS).save(TABLE, {})


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_index_is_as_good_as_none(tmp_path_factory, place, bit, cut):
    index = ImageIndex(tmp_path_factory.mktemp("damage") / "x.npz", "content", IDS)
    index.save(TABLE, {"3.jpg": "none"})
    damage(index.path, place, bit, cut)
    known = index.load()
    if known:
        np.testing.assert_array_equal(known[0], TABLE)
        assert known[1] == {"3.jpg": "none"}

"""What tars hold is found in one pass, and remembered as long as they are the same."""

import hashlib
import mmap
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.extracting.listing import list_images
from pipelines.machine import image_table, remembered
from pipelines.machine.image_table import ImageTable
from pipelines.setup import Setup
from tests.pipelines.small_runs import photographs
from tests.transfer.images.test_cifar import cifar10_python
from tests.transfer.images.test_cifar import packed as cifar_packed
from tests.transfer.images.test_tar_shards import tar
from transfer.errors import InputError
from transfer.images import archives
from transfer.images.digests import image_digests
from transfer.images.sources import DataOptions, load_as_given

KINDS = ("gz", "xz", "bz2")


def packed(folder, kind="gz", name="photos"):
    path = folder.with_name(f"{name}.tar.{kind}".rstrip("."))
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
    monkeypatch.setattr(image_table, "SETTLED", 0)


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
    return load_as_given(DataOptions(str(path)))


def test_rehash_lists_anew(photos, opened):
    path = packed(photos)
    list_images(setup_of(path))
    opened.clear()
    list_images(setup_of(path, rehash=True))
    assert opened == [path.name]


def test_an_archive_changed_just_now_is_not_remembered(photos, opened, monkeypatch):
    monkeypatch.setattr(image_table, "SETTLED", 2_000_000_000)
    path = packed(photos)
    list_images(setup_of(path))
    list_images(setup_of(path))
    assert opened == [path.name] * 2


@pytest.mark.parametrize("least_mapped", [0, 2**24])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_index_is_as_good_as_none(
    tmp_path_factory, monkeypatch, least_mapped, place, bit, cut
):
    monkeypatch.setattr(remembered, "LEAST_MAPPED", least_mapped)
    folder = tmp_path_factory.mktemp("damage")
    path = packed(photographs(folder / "photos", count=2))
    (folder / "photos" / "cat" / "000.png").write_bytes(b"none")
    table = ImageTable(folder / "table.npz")
    options = DataOptions(str(path))
    whole = load_as_given(options)
    load_as_given(options, table)
    damage(table.path, place, bit, cut)
    assert_same(load_as_given(options, table), whole)


@pytest.mark.parametrize("name", [b"offsets.npy", b"split.npy", b"about.npy"])
def test_a_name_inside_that_is_damaged_is_found(photos, name):
    """A zip lists what it holds at its end, without a checksum."""
    setup = setup_of(packed(photos))
    images = setup.images()
    (path,) = (setup.artifacts / "index").glob("*.rows.npz")
    content = bytearray(path.read_bytes())
    content[content.rindex(name)] ^= 2
    path.write_bytes(content)
    assert_same(setup.images(), images)


def assert_same(images, expected):
    assert images.class_names == expected.class_names
    assert images.left_out == expected.left_out
    assert type(images.source) is type(expected.source)
    for name in ("ids", "labels", "split", "members"):
        np.testing.assert_array_equal(getattr(images, name), getattr(expected, name))
    if isinstance(images.source, np.ndarray):
        np.testing.assert_array_equal(images.source, expected.source)
    else:
        for name, value in vars(expected.source).items():
            np.testing.assert_equal(getattr(images.source, name), value)


def test_an_index_that_cannot_be_written_is_none(photos, opened):
    path = packed(photos)
    (path.parent / "artifacts").mkdir()
    (path.parent / "artifacts" / "index").write_text("a file in its place")
    assert len(list_images(setup_of(path)).images) == 12
    assert opened == [path.name]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_listed_in_no_time_is_listed_each_time(photos, kind):
    path = photos
    if kind == "zip":
        path = Path(shutil.make_archive(str(photos), kind, photos))
        long_ago(path)
    setup = setup_of(path)
    list_images(setup)
    assert not list((setup.artifacts / "index").glob("*.rows.npz"))


def tar_of_photographs(photos):
    (photos / "cat" / "notes.txt").write_text("left out")
    return packed(photos, "")


def write_shard(path, images, label):
    files = {}
    for image in images:
        files |= {image.name: image.read_bytes(), f"{image.stem}.cls": label}
    tar(path, files)


def shards(photos):
    folder = photos.with_name("shards")
    folder.mkdir()
    (folder / "classes.txt").write_text("cat\ndog\n")
    write_shard(folder / "train-0.tar", sorted((photos / "cat").iterdir()), b"0")
    write_shard(folder / "train-1.tar", sorted((photos / "dog").iterdir()), b"1")
    for path in folder.iterdir():
        long_ago(path)
    return folder


def cifar_in_a_tar(photos):
    path = Path(cifar_packed(photos.parent, cifar10_python(), "tar.gz").data)
    long_ago(path)
    return path


REMEMBERED = [tar_of_photographs, shards, cifar_in_a_tar, packed]


@pytest.mark.parametrize("made", REMEMBERED)
def test_what_is_remembered_is_what_a_pass_finds(photos, opened, made):
    path = made(photos)
    setup = setup_of(path)
    found = load_as_given(setup.data)
    assert_same(setup.images(), found)  # from the table at once
    opened.clear()
    known = setup.images()
    assert_same(known, found)
    assert opened == []
    np.testing.assert_array_equal(known.read(len(known) - 1), found.read(len(found) - 1))


@pytest.mark.parametrize("made", REMEMBERED)
def test_what_is_remembered_stays_on_disk_where_it_is_large(photos, made, monkeypatch):
    monkeypatch.setattr(remembered, "LEAST_MAPPED", 0)
    known = setup_of(made(photos)).images()
    columns = [known.labels, known.split, known.members, known.ids.encoded, known.ids.starts]
    source = known.source
    columns += [source] if isinstance(source, np.ndarray) else [source.offsets, source.sizes]
    for column in columns:
        while not isinstance(column, mmap.mmap):
            column = column.base if isinstance(column, np.ndarray) else column.obj
        assert column.closed is False


def test_a_folder_of_shards_with_another_name_has_another_split(photos):
    folder = photos.with_name("shards")
    cats, dogs = (sorted(photos.glob(f"{name}/*.png")) for name in ("cat", "dog"))
    for name, images, label in (
        ("train/1", cats[:3], b"cat"),
        ("train/2", dogs[:3], b"dog"),
        ("Val/3", dogs[3:], b"dog"),
    ):
        path = folder / f"{name}.tar"
        write_shard(path, images, label)
        long_ago(path)
    setup = setup_of(folder)
    assert set(setup.images().split) == {"train", "val"}
    (folder / "Val").rename(folder / "Test")  # files, their order and states stay as they are
    images = setup.images()
    assert set(images.split) == {"train", "test"}
    assert_same(images, load_as_given(setup.data))


@pytest.mark.parametrize("changed", ["train-1.tar", "classes.txt"])
def test_one_shard_that_changed_has_all_listed_anew(photos, opened, changed):
    folder = shards(photos)
    setup = setup_of(folder)
    before = setup.images()
    if changed == "classes.txt":
        (folder / changed).write_text("cat\nwolf\n")
    else:
        write_shard(folder / changed, sorted((photos / "dog").iterdir())[:4], b"1")
    images = setup.images()
    assert_same(images, load_as_given(setup.data))
    if changed == "classes.txt":
        assert images.class_names == ("cat", "wolf")
    else:
        assert len(images) == len(before) - 2


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

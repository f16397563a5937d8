"""Data sets of WebDataset's in .tar files: labels beside images, splits, and reading at random."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.transfer.images.test_sources import check_rows_alone, numbers_of, picture, refused
from transfer.images.digests import image_digests
from transfer.images.sources import DataOptions, digest, load

NONE = {"val_fraction": 0.0, "test_fraction": 0.0}


def tar(path, files, mode="w"):
    """A tar of files by their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return DataOptions(str(path), **NONE)


def samples(numbers, label=lambda number: f"{number % 3}\n", suffix="cls"):
    """Pictures that are numbers, with their labels behind them."""
    files = {}
    for number in numbers:
        files |= {f"{number:04}.png": picture(number), f"{number:04}.{suffix}": label(number)}
    return files


@pytest.fixture
def folder(tmp_path):
    tar(tmp_path / "x/birds-train-000000.tar", samples(range(5)))
    tar(tmp_path / "x/birds-train-000001.tar", samples(range(5, 8)))
    tar(tmp_path / "x/birds-validation-000000.tar", samples(range(8, 10)))
    (tmp_path / "x/README.md").write_text("A card.")
    return DataOptions(str(tmp_path / "x"), **NONE)


def test_rows_are_in_order_of_files_with_their_labels(folder):
    images = load(folder)
    assert numbers_of(images) == list(range(10))
    assert images.ids[0] == "birds-train-000000/0000.png"
    assert images.ids[9] == "birds-validation-000000/0009.png"
    assert images.class_names == ("0", "1", "2")
    assert images.labels.tolist() == [number % 3 for number in range(10)]
    assert images.split.tolist() == ["train"] * 8 + ["val"] * 2


@pytest.mark.parametrize("rows", [[0], [4, 5], [1, 6, 9], [2, 3, 4, 7, 8]])
def test_some_rows_are_read_alone(folder, rows):
    check_rows_alone(load(folder), rows)


def test_one_file_alone_says_the_same(folder):
    path = Path(folder.data) / "birds-train-000001.tar"
    alone, whole = load(DataOptions(str(path), **NONE)), load(folder)
    assert alone.ids.tolist() == whole.ids[5:8].tolist()
    assert numbers_of(alone) == [5, 6, 7]
    assert alone.class_names == ("0", "1", "2")


def test_images_have_the_digests_of_their_files(folder, tmp_path):
    for number in range(10):
        path = tmp_path / "files" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    files = image_digests(load(DataOptions(str(tmp_path / "files"), **NONE)))
    of_shards = image_digests(load(folder))
    assert {one.tobytes() for one in files} == {one.tobytes() for one in of_shards}


def test_classes_are_in_the_order_of_their_numbers(tmp_path):
    images = load(tar(tmp_path / "x.tar", samples([10, 9, 2], lambda number: str(number))))
    assert images.class_names == ("2", "9", "10")
    assert images.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize("name", ["classes.txt", "classnames.txt"])
def test_a_file_beside_the_shards_names_the_numbers(folder, name):
    before = digest(folder)
    (Path(folder.data) / name).write_text("zebra\nant\nbee\n")
    images = load(folder)
    assert images.class_names == ("zebra", "ant", "bee")
    assert images.labels[:3].tolist() == [0, 1, 2]
    assert digest(folder) != before
    (Path(folder.data) / name).write_text("zebra\nant\n")
    assert "received 3 of 10 without" in refused(folder)


def test_labels_may_be_words_and_in_json(tmp_path):
    words = samples(range(2), lambda number: "ab"[number])
    table = samples(range(2, 4), lambda number: json.dumps({"Label": "ab"[number % 2]}), "json")
    tar(tmp_path / "x/0.tar", words)
    tar(tmp_path / "x/1.tar", table)
    # Where there are both, as img2dataset writes them, the plainer one counts.
    both = {"1.png": picture(4), "1.cls": "b", "1.json": json.dumps({"label": "a"})}
    tar(tmp_path / "x/2.tar", both)
    images = load(DataOptions(str(tmp_path / "x"), **NONE))
    assert images.class_names == ("a", "b")
    assert images.labels.tolist() == [0, 1, 0, 1, 1]


def test_the_digest_is_of_names_and_bytes(folder, tmp_path):
    first = digest(folder)
    Path(folder.data).rename(tmp_path / "moved")
    assert digest(DataOptions(str(tmp_path / "moved"))) == first
    (tmp_path / "moved/birds-validation-000000.tar").rename(tmp_path / "moved/birds-test-0.tar")
    assert digest(DataOptions(str(tmp_path / "moved"))) != first


def test_shards_behind_an_address_are_fetched(folder, tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="needs the package fsspec")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    remote = DataOptions(f"file://{folder.data}", **NONE)
    assert numbers_of(load(remote)) == list(range(10))
    assert digest(remote) == digest(folder)


def test_an_archive_of_class_folders_with_notes_in_json_stays_one(tmp_path):
    files = {
        f"{kind}/{n}.{s}": picture(n) if s == "png" else "{}"
        for kind in "ab"
        for n in (1, 2)
        for s in ("png", "json")
    }
    images = load(tar(tmp_path / "photos.tar", files))
    assert images.class_names == ("a", "b")
    assert images.ids.tolist() == ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]


def test_what_cannot_be_used_is_one_line(tmp_path, folder):
    files = samples(range(4))
    del files["0002.cls"]
    assert "received 1 of 4 without" in refused(tar(tmp_path / "less.tar", files))
    more = samples(range(4)) | {"0001.left.png": picture(1)}
    assert "one image for each label, received 0001.png and" in refused(
        tar(tmp_path / "more.tar", more)
    )
    bad = samples([1], lambda _: "{no json", "json")
    tar(tmp_path / "bad/0.tar", bad)
    assert "expects JSON in 0001.json" in refused(DataOptions(str(tmp_path / "bad"), **NONE))
    tar(tmp_path / "none/photos.tar", {"cat/1.png": picture(1), "dog/1.png": picture(2)})
    assert "is given itself, as --data" in refused(DataOptions(str(tmp_path / "none"), **NONE))
    tar(Path(folder.data) / "other.tar", samples(range(2)))
    assert "received 'other.tar' beside others" in refused(folder)
    tar(tmp_path / "packed/train.tar", samples(range(4)), "w:gz")
    assert "not compressed" in refused(DataOptions(str(tmp_path / "packed"), **NONE))
    (tmp_path / "packed/train.tar").write_bytes(b"no tar")
    assert "fetch or unpack it again" in refused(DataOptions(str(tmp_path / "packed"), **NONE))
    (tmp_path / "packed/train.tar").unlink()
    (tmp_path / "packed/train.tar").symlink_to(tmp_path / "gone")
    assert "cannot be read: No such file" in refused(DataOptions(str(tmp_path / "packed"), **NONE))


def test_a_shard_that_is_cut_off_is_refused(folder):
    path = Path(folder.data) / "birds-train-000001.tar"
    path.write_bytes(path.read_bytes()[:1500])
    assert "cannot be read to its end" in refused(folder)

"""Data sets of Hugging Face in .parquet files: rows, classes, splits, and reading forward."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.transfer.images.test_sources import (
    check_rows_alone,
    number_in,
    numbers_of,
    picture,
    refused,
)
from transfer.images.decoding import BadImage
from transfer.images.digests import image_digests
from transfer.images.sources import DataOptions, digest, load, load_as_given

pa = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
NONE = {"val_fraction": 0.0, "test_fraction": 0.0}
CLASSES = ["zebra", "ant", "unused"]


def shard(path, numbers, classes=CLASSES, paths=None, labels=None, label="label", rows=2):
    """A file as datasets writes it, of pictures that are numbers and labels that alternate."""
    from pyarrow import parquet

    paths = paths or [None] * len(numbers)
    images = [
        {"bytes": None if n is None else picture(n), "path": p}
        for n, p in zip(numbers, paths, strict=True)
    ]
    labels = labels or [row % 2 for row in range(len(numbers))]
    table = pa.table({"image": images, label: pa.array(labels)})
    features = {"image": {"_type": "Image"}}
    if classes:
        features[label] = {"names": classes, "_type": "ClassLabel"}
    told = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(
        table.replace_schema_metadata({"huggingface": told}), path, row_group_size=rows
    )
    return DataOptions(str(path), **NONE)


@pytest.fixture
def folder(tmp_path):
    shard(tmp_path / "x/data/train-00000-of-00002.parquet", range(5))
    shard(tmp_path / "x/data/train-00001-of-00002.parquet", range(5, 8))
    shard(tmp_path / "x/data/validation-00000-of-00001.parquet", range(8, 10))
    (tmp_path / "x/README.md").write_text("A card.")
    return DataOptions(str(tmp_path / "x"), **NONE)


def test_rows_are_in_order_of_files_with_classes_of_the_metadata(folder):
    images = load(folder)
    assert images.ids[0] == "train/0000000"
    assert list(images.ids[-3:]) == ["train/0000007", "val/0000000", "val/0000001"]
    assert numbers_of(images) == list(range(10))
    assert images.class_names == ("zebra", "ant")
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 0, 1, 0, 0, 1]
    assert images.split.tolist() == ["train"] * 8 + ["val"] * 2


@pytest.mark.parametrize("rows", [[0], [3], [4, 5], [1, 6, 9], [2, 3, 4, 7, 8]])
def test_some_rows_are_read_alone(folder, rows):
    check_rows_alone(load(folder), rows)


def test_only_the_row_groups_that_hold_the_rows_are_read(folder, monkeypatch):
    from pyarrow.parquet import ParquetFile

    asked = []
    iter_batches = ParquetFile.iter_batches

    def record(self, *rest, row_groups, **more):
        asked.append(list(row_groups))
        return iter_batches(self, *rest, row_groups=row_groups, **more)

    monkeypatch.setattr(ParquetFile, "iter_batches", record)
    assert numbers_of(load(folder).subset(np.array([1, 4, 7]))) == [1, 4, 7]
    assert asked == [[0, 2], [1]]


def test_one_file_alone(tmp_path):
    images = load_as_given(shard(tmp_path / "test.parquet", range(4), ["a", "b"]))
    assert numbers_of(images) == [0, 1, 2, 3]
    assert images.split.tolist() == ["test"] * 4


def test_images_have_the_digests_of_their_files(folder, tmp_path):
    for number in range(10):
        path = tmp_path / "files" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    files = image_digests(load(DataOptions(str(tmp_path / "files"), **NONE)))
    assert {one.tobytes() for one in files} == {
        one.tobytes() for one in image_digests(load(folder))
    }


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (["a/1.png", "a/2.png"], ["train/a/1.png", "train/a/2.png"]),
        (["1.png", "1.png"], ["train/0000000", "train/0000001"]),
        (["1.png", None], ["train/0000000", "train/0000001"]),
    ],
)
def test_paths_are_ids_where_they_tell_images_apart(tmp_path, paths, ids):
    assert list(load(shard(tmp_path / "x.parquet", [1, 2], paths=paths)).ids) == ids


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/0000.parquet", "test/0000.parquet"], ["train", "test"]),
        (["default/train/0.parquet", "default/valid/0.parquet"], ["train", "val"]),
        (["train.parquet", "testing.parquet"], ["train", "test"]),
        (["part-0.parquet", "part-1.parquet"], ["train"]),
    ],
)
def test_splits_are_said_by_names_of_files_or_folders(tmp_path, names, splits):
    for name in names:
        shard(tmp_path / name, range(2))
    images = load(DataOptions(str(tmp_path), **NONE))
    assert sorted(set(images.split)) == sorted(splits)


def test_labels_without_names_are_names(tmp_path):
    images = load(shard(tmp_path / "x.parquet", range(3), None, labels=["b", "a", "b"]))
    assert (images.class_names, images.labels.tolist()) == (("a", "b"), [1, 0, 1])


def test_labels_of_another_name_are_known_by_the_metadata(tmp_path):
    images = load(shard(tmp_path / "x.parquet", range(2), ["a", "b"], label="fine"))
    assert images.class_names == ("a", "b")


def test_a_row_without_bytes_is_a_bad_image(tmp_path):
    images = load(shard(tmp_path / "x.parquet", [1, None, 2, 3]))
    found = [image for _, image in images.stream()]
    assert isinstance(found[1], BadImage)
    assert [number_in(found[row]) for row in (0, 2, 3)] == [1, 2, 3]


def test_the_digest_is_of_names_and_bytes(folder, tmp_path):
    first = digest(folder)
    Path(folder.data).rename(tmp_path / "moved")
    assert digest(DataOptions(str(tmp_path / "moved"))) == first
    data = tmp_path / "moved" / "data"
    (data / "validation-00000-of-00001.parquet").rename(data / "test-00000-of-00001.parquet")
    assert digest(DataOptions(str(tmp_path / "moved"))) != first


def test_files_behind_an_address_are_fetched(folder, tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="needs the package fsspec")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    remote = DataOptions(f"file://{folder.data}", **NONE)
    assert numbers_of(load(remote)) == list(range(10))
    assert digest(remote) == digest(folder)
    assert len(list((tmp_path / "keras").rglob("*.parquet"))) == 3


def test_what_cannot_be_used_is_one_line(tmp_path, folder):
    unlabelled = shard(tmp_path / "u.parquet", range(4), labels=[0, 1, -1, None])
    assert "received 2 of 4 without" in refused(unlabelled)
    shard(tmp_path / "x/data/other.parquet", range(2))
    assert "received 'data/other.parquet' beside others" in refused(folder)
    shard(tmp_path / "x/data/other.parquet", range(2), ["a", "b"])
    assert "received others in" in refused(folder)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    assert "expected a parquet file" in refused(DataOptions(str(tmp_path / "bad.parquet")))
    no_label = shard(tmp_path / "n.parquet", range(2), None, label="x")
    assert "one of labels, received image, x" in refused(no_label)


def test_parquet_in_an_archive_is_refused(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(next(Path(folder.data).rglob("*.parquet")), "train.parquet")
    assert "received .parquet files: unpack it" in refused(DataOptions(str(tmp_path / "x.zip")))

"""Tables of images: what they say, how forgiving they are read, and what is refused."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transfer.images.test_sources import picture, refused
from transfer.images.decoding import BadImage
from transfer.images.sources import (
    DataOptions,
    data_name,
    digest,
    groups_in,
    how_split,
    load,
    load_as_given,
    remarks,
)

HEADER = "path,label,split,group"
ROWS = [
    "b/1.png,tulip,train,P1",
    "a/2.png,rose,Validation,P1",
    "a/1.png,rose,train,P2",
    "b/2.png,tulip,TEST,P3",
]
NONE = {"val_fraction": 0.0, "test_fraction": 0.0}


def options(folder, rows=ROWS, header=HEADER, name="labels.csv", **more):
    """A table beside four pictures, each of its own number."""
    for number, image in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(picture(number))
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return DataOptions(str(folder / name), **(NONE | more))


def rows_of(images):
    names = [images.class_names[label] for label in images.labels]
    return list(zip(images.ids, names, images.split.tolist(), strict=True))


def test_rows_are_in_order_of_id_with_their_labels_splits_and_pixels(tmp_path):
    images = load(options(tmp_path))
    assert rows_of(images) == [
        ("a/1.png", "rose", "train"),
        ("a/2.png", "rose", "val"),
        ("b/1.png", "tulip", "train"),
        ("b/2.png", "tulip", "test"),
    ]
    assert [int(image[0, 0, 0]) for _, image in images.stream()] == [0, 1, 2, 3]


def test_a_table_without_splits_has_the_rows_and_the_carving_of_the_folder(tmp_path):
    rows = [row.rsplit(",", 2)[0].replace("tulip", "b").replace("rose", "a") for row in ROWS]
    table = load(options(tmp_path / "x", rows, "path,label", val_fraction=0.5))
    (tmp_path / "x" / "labels.csv").unlink()
    folder = load(DataOptions(str(tmp_path / "x"), **(NONE | {"val_fraction": 0.5})))
    assert rows_of(table) == rows_of(folder)
    assert {split for _, _, split in rows_of(table)} == {"train", "val"}


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("File Name;Class;SUBSET;Patient", ";"),
        ("image_path\tspecies\tpartition\tsubject", "\t"),
        ("\ufefffilename,target,set,group", ","),
        ("id,category,split,group", ","),
    ],
)
def test_columns_are_found_whatever_they_are_called(tmp_path, header, delimiter):
    rows = [row.replace(",", delimiter) for row in ROWS]
    other = options(tmp_path, rows, header)
    assert rows_of(load(other)) == rows_of(load(options(tmp_path / "as it is")))
    assert list(groups_in(load(other).ids, other)) == ["P2", "P1", "P1", "P3"]


def test_json_lines_are_such_a_table(tmp_path):
    given = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for row in ROWS]
    lines = [json.dumps(row | {"objects": {"bbox": [1, 2]}}) for row in given]
    first, *others = lines
    assert rows_of(load(options(tmp_path, ["", *others], first, "metadata.jsonl"))) == rows_of(
        load(options(tmp_path))
    )


@pytest.mark.parametrize(
    ("label", "name"), [(0, "0"), (1.0, "1"), (2.5, "2.5"), (True, "true"), (" x ", "x")]
)
def test_typed_labels_are_names(tmp_path, label, name):
    lines = [json.dumps({"file_name": row.split(",")[0], "label": label}) for row in ROWS]
    lines[0] = lines[0].replace(json.dumps(label), '"other"')
    images = load(options(tmp_path, lines[1:], lines[0], "t.jsonl"))
    assert images.class_names == tuple(sorted([name, "other"]))


def test_numbers_are_names_in_order_of_text(tmp_path):
    labels = ["10", "2", "0", "2"]
    rows = [f"{row.split(',')[0]},{label}" for row, label in zip(ROWS, labels, strict=True)]
    assert load(options(tmp_path, rows, "path,label")).class_names == ("0", "10", "2")


def test_paths_are_as_written_but_for_dots_and_backslashes(tmp_path):
    rows = ["./b/1.png,x", "b\\2.png,x", "a//1.png,y", f"{tmp_path}/a/2.png,y"]
    ids = load(options(tmp_path, rows, "path,label")).ids
    assert list(ids) == sorted(["b/1.png", "b/2.png", "a/1.png", f"{tmp_path}/a/2.png"])


def test_blank_rows_do_not_count(tmp_path):
    assert len(load(options(tmp_path, ["", *ROWS, ",,,", "  "]))) == 4


def test_names_that_differ_a_little_mean_the_only_file_that_they_can(tmp_path):
    there = options(tmp_path, ["A/1.PNG,rose,train,1", "a/2.png,oak,train,2", "b/1,oak,test,3"])
    images = load(there)
    assert images.ids.tolist() == ["A/1.PNG", "a/2.png", "b/1"]
    rows = ["a/1.png,rose,train,1", "a/2.png,oak,train,2", "b/1.png,oak,test,3"]
    exact = load(options(tmp_path, rows))
    for row in range(3):
        np.testing.assert_array_equal(images.read(row), exact.read(row))
    digest(there)


@pytest.mark.parametrize("path", ["1.png", "b/a/1.png", "A/1.png", "c/1.png"])
def test_names_that_mean_no_file_or_one_that_another_row_has_are_missing(tmp_path, path):
    said = refused(options(tmp_path, [*ROWS, f"{path},rose,train,P"]))
    assert f"received 1 missing files: {path}" in said


def test_a_root_elsewhere(tmp_path):
    options(tmp_path / "images")
    moved = tmp_path / "labels.csv"
    (tmp_path / "images" / "labels.csv").rename(moved)
    there = DataOptions(str(moved), str(tmp_path / "images"), **NONE)
    assert len(load(there)) == 4
    assert "received 4 missing files: a/1.png, a/2.png, b/1.png, ...;" in refused(
        DataOptions(str(moved))
    )


def test_a_root_is_for_tables(tmp_path):
    options(tmp_path)
    assert "--images-root expects --data to be a table" in refused(
        DataOptions(str(tmp_path), images_root=str(tmp_path))
    )


def test_a_row_said_again_counts_once_and_is_remarked(tmp_path):
    again = options(tmp_path, [*ROWS, "./" + ROWS[0], ROWS[1]])
    assert len(load(again)) == 4
    (remark,) = remarks(again)
    assert "says 2 rows again, such as b/1.png, a/2.png" in remark
    assert remarks(options(tmp_path)) == []
    assert digest(again) == digest(options(tmp_path))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, "a/3.png,rose,train,P1"], "received 1 missing files: a/3.png;"),
        ([*ROWS, "a/2.png,,train,P1"], "no empty cell in column 'label', received 1 in lines: 6;"),
        ([*ROWS, ",rose,train,P1"], "no empty cell in column 'path', received 1 in lines: 6;"),
        ([*ROWS, "a/2.png,rose,,P1"], "no empty cell in column 'split'"),
        ([*ROWS, "a/2.png,rose,train"], "no empty cell in column 'group'"),
        ([*ROWS, "a/1.png,tulip,train,P2"], "received 1 images with several: a/1.png;"),
        ([*ROWS, "a/1.png,rose,test,P2"], "received 1 images with several: a/1.png;"),
        ([*ROWS, "a/1.png,rose,train,P9"], "received 1 images with several: a/1.png;"),
        ([ROWS[0].replace("train", "holdout")], "received 1 others: holdout;"),
        ([], "expects a row for each image, received none"),
    ],
)
def test_what_cannot_be_used_is_counted_and_named(tmp_path, rows, said):
    assert said in refused(options(tmp_path, rows))


def test_a_header_without_the_columns_is_shown(tmp_path):
    said = refused(options(tmp_path, ROWS, "name,label,split,group"))
    assert "expects a column of paths (file, filename" in said
    assert "received name, label, split, group" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "expects one JSON object a line, received '[1]' in line 2"),
        ("{", "expects one JSON object a line, received '{' in line 2"),
        ('{"file": "a/1.png", "label": ["x"]}', "received a list in line 2"),
    ],
)
def test_json_that_is_no_table(tmp_path, line, said):
    first = '{"file": "a/1.png", "label": "x"}'
    assert said in refused(options(tmp_path, [line], first, "t.jsonl"))


def test_a_table_that_is_not_there(tmp_path):
    assert "No such file" in refused(DataOptions(str(tmp_path / "labels.csv")))


def test_missing_files_are_bad_images_where_those_are_skipped(tmp_path):
    images = load(options(tmp_path, [*ROWS, "a/3.png,rose,train,P1"], bad_images="skip"))
    found = dict(images.stream())
    assert isinstance(found[2], BadImage)
    assert [row for row, image in found.items() if isinstance(image, BadImage)] == [2]


# --- groups ---


def test_the_column_keeps_groups_together_and_the_flag_wins(tmp_path):
    given = options(tmp_path)
    ids = load(given).ids
    assert list(groups_in(ids, given)) == ["P2", "P1", "P1", "P3"]
    assert list(groups_in(ids[[2, 0]], given)) == ["P1", "P2"]
    assert list(groups_in(ids, replace(given, group="^."))) == ["a", "a", "b", "b"]


@given(st.integers(2, 6), st.integers(3, 6))
@settings(max_examples=10, deadline=None)
def test_no_group_is_on_two_sides(tmp_path_factory, num_groups, per_group):
    folder = tmp_path_factory.mktemp("grouped")
    rows = [
        f"{number}.png,{'ab'[number % 2]},G{number % num_groups}"
        for number in range(num_groups * per_group * 2)
    ]
    for row in rows:
        (folder / row.split(",")[0]).touch()
    (folder / "t.csv").write_text("\n".join(["file,label,patient", *rows]))
    data = DataOptions(str(folder / "t.csv"), val_fraction=0.0, test_fraction=0.4)
    images = load(data)
    groups = groups_in(images.ids, data)
    held = set(groups[images.split == "test"])
    assert held.isdisjoint(groups[images.split == "train"])


def test_what_was_trained_on_says_which_groups(tmp_path):
    before = how_split(options(tmp_path))["group"]
    assert before.startswith("groups of a table, sha256 ")
    other = [ROWS[0].replace("P1", "P9"), *ROWS[1:]]
    assert how_split(options(tmp_path, other))["group"] != before
    ungrouped = [row.rsplit(",", 1)[0] for row in ROWS]
    assert how_split(options(tmp_path, ungrouped, "path,label,split"))["group"] is None


# --- digests ---


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        (",rose,train", ",tulip,train", False),
        ("TEST", "train", False),
        ("TEST", "testing", True),
        ("P3", "P1", True),
        ("b/2.png", "./b/2.png", True),
        ("b/2.png", "a/../b/2.png", True),
    ],
)
def test_the_digest_is_of_what_decides(tmp_path, before, after, is_same):
    first = digest(options(tmp_path))
    rows = [row.replace(before, after) for row in ROWS]
    assert rows != ROWS
    assert (digest(options(tmp_path, rows)) == first) is is_same


def test_the_digest_is_of_contents_wherever_they_lie(tmp_path):
    first = digest(options(tmp_path / "x"))
    assert digest(options(tmp_path / "y", ROWS[::-1], name="other.csv")) == first
    (tmp_path / "y" / "a" / "1.png").write_bytes(picture(9))
    assert digest(DataOptions(str(tmp_path / "y" / "other.csv"))) != first


def test_a_limit_takes_the_first_of_each_class_and_split(tmp_path):
    assert list(load_as_given(options(tmp_path, limit_per_class=1)).ids) == [
        "a/1.png", "a/2.png", "b/1.png", "b/2.png",
    ]  # fmt: skip
    rows = [row.rsplit(",", 2)[0] for row in ROWS]
    limited = options(tmp_path, rows, "path,label", limit_per_class=1)
    assert list(load_as_given(limited).ids) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "labels.JSONL", "labels.parquet"])
def test_runs_are_named_after_the_table(name):
    assert data_name(DataOptions(name)) == "labels"


def test_a_flat_folder_names_the_table_beside_its_images(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.png,a\n1.png,b\n")
    assert "give a table as --data, such as metadata.csv" in refused(DataOptions(str(tmp_path)))
    assert len(load(DataOptions(str(tmp_path / "metadata.csv"), **NONE))) == 2


# --- parquet ---


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs the package pyarrow")
@pytest.mark.parametrize("label", [[0, 1, 0, 1], [0.0, 1.0, 0.0, 1.0], ["0", "1", "0", "1"]])
def test_parquet_is_such_a_table(tmp_path, label):
    import pyarrow as pa
    from pyarrow import parquet

    options(tmp_path)
    files = [row.split(",")[0] for row in ROWS]
    table = pa.table({"file": files, "label": label, "other": [{"x": 1}] * 4})
    parquet.write_table(table, tmp_path / "t.parquet")
    images = load(DataOptions(str(tmp_path / "t.parquet"), **NONE))
    assert rows_of(images) == [
        (id, name, "train") for id, name in sorted(zip(files, ["0", "1", "0", "1"], strict=True))
    ]
    assert np.array_equal(images.labels, [0, 1, 0, 1])


@pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is not None, reason="needs pyarrow to be missing"
)
def test_parquet_names_the_package_that_it_needs(tmp_path):
    Path(tmp_path / "t.parquet").write_bytes(b"PAR1")
    said = refused(DataOptions(str(tmp_path / "t.parquet")))
    assert "expects the package pyarrow, found none: pip install cached-transfer[parquet]" in said

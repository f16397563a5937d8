"""Groups of images: found in their ids, or listed in a file; every gap and doubt is refused."""

import numpy as np
import pytest

from transfer.errors import InputError
from transfer.images.groups import fingerprint, groups_of
from transfer.images.sources import DataOptions, carve

IDS = np.array(
    ["cats/tom-1.jpg", "cats/tom-2.jpg", "cats/kit-1.jpg", "dogs/rex-1.jpg", "dogs/tom-1.jpg"],
    object,
)
GROUPS = ["tom", "tom", "kit", "rex", "tom"]
LINES = [f"{id},{group}" for id, group in zip(IDS, GROUPS, strict=True)]


def listed(folder, lines, encoding="utf-8", end="\n"):
    path = folder / "groups.csv"
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return str(path)


def refused(option, part=False, ids=IDS):
    with pytest.raises(InputError) as caught:
        groups_of(ids, option, part)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parts(groups):
    """Which rows are together, whatever their groups are called."""
    return [list(groups).index(group) for group in groups]


# ---- by a regular expression


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (r"/(\w+)-", GROUPS),
        (r"(?<=/)\w+", GROUPS),
        (r"[a-z]+/[a-z]+", ["cats/tom", "cats/tom", "cats/kit", "dogs/rex", "dogs/tom"]),
        (r"-(\d)", ["1", "2", "1", "1", "1"]),
        (r"(?:cats|dogs)/(?P<animal>\w+)", GROUPS),
    ],
)
def test_the_capture_group_or_the_whole_match_names_the_group(expression, expected):
    groups = groups_of(IDS, expression)
    assert groups.tolist() == expected
    assert groups.shape == IDS.shape


def test_several_capture_groups_count_together():
    groups = groups_of(IDS, r"(cats)?.*/(\w+)-")
    assert parts(groups) == [0, 0, 2, 3, 4]  # tom the cat is not tom the dog
    ids = np.array(["ab-c", "a-bc"], object)
    assert len(set(groups_of(ids, r"(\w+)-(\w+)"))) == 2


def test_no_option_no_groups():
    assert groups_of(IDS, None) is None


def test_ids_that_do_not_match_are_counted_and_one_is_named():
    said = refused("cats/(.*)-")
    assert "2 of 5 without it, such as 'dogs/rex-1.jpg'; change" in said
    assert "5 of 5" in refused("x*")  # matches, but matches nothing


def test_a_bad_expression_says_what_is_wrong_with_it():
    said = refused("(cats")
    assert "'(cats'" in said and "unterminated" in said and "mend it" in said


# ---- by a file


@pytest.mark.parametrize("header", [[], ["image,group"], ["file,patient"]])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_of_images_and_groups(tmp_path, header, encoding, end):
    path = listed(tmp_path, [*header, *reversed(LINES), ""], encoding, end)
    assert groups_of(IDS, path).tolist() == GROUPS


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(",", ";"),
        lambda line: line.replace(",", "\t"),
        str.upper,
        lambda line: line.replace(".jpg", ""),
        lambda line: line.replace(".jpg", ".png"),
        lambda line: line.replace("/", "\\"),
        lambda line: f"data/photos/{line},,",
        lambda line: ",".join(reversed(line.split(","))),
    ],
    ids=["semicolons", "tabs", "case", "stem", "suffix", "backslashes", "folders", "swapped"],
)
def test_names_that_can_only_mean_one_image_are_understood(tmp_path, change):
    path = listed(tmp_path, [change("File Name,Patient"), *map(change, LINES), " ", ""])
    assert [group.lower() for group in groups_of(IDS, path)] == GROUPS


def test_a_name_that_may_be_two_images_is_refused(tmp_path):
    said = refused(listed(tmp_path, [*LINES[:3], "rex-1,rex", "tom-1.jpg,tom"]))
    assert "'tom-1.jpg' in line 5" in said and "'cats/tom-1.jpg' or 'dogs/tom-1.jpg'" in said


def test_an_image_with_a_line_of_its_own_is_not_meant_by_another(tmp_path):
    path = listed(tmp_path, [*LINES, "cats/tom-1.png,other"])
    assert "1 others" in refused(path) and "'cats/tom-1.png'" in refused(path)
    assert groups_of(IDS, path, part=True).tolist() == GROUPS


def test_quoted_names_may_hold_commas(tmp_path):
    ids = np.array(["a/1,5.jpg", "a/2.jpg"], object)
    path = listed(tmp_path, ['"a/1,5.jpg", x', "a/2.jpg,x"])
    assert groups_of(ids, path).tolist() == ["x", "x"]


def test_images_without_a_group_are_counted_and_one_is_named(tmp_path):
    for part in (False, True):
        said = refused(listed(tmp_path, LINES[1:4]), part)
        assert "none of 2 of 5" in said and "'cats/tom-1.jpg'" in said and "add them" in said


def test_unknown_images_are_refused_where_all_are_known(tmp_path):
    path = listed(tmp_path, [*LINES, "cats/gone.jpg,tom", "cats/lost.jpg,tom"])
    said = refused(path)
    assert "2 others" in said and "'cats/gone.jpg'" in said and "remove them" in said
    assert groups_of(IDS, path, part=True).tolist() == GROUPS


def test_a_typing_error_in_the_first_line_is_no_header_unseen(tmp_path):
    assert "none of 1 of 5" in refused(listed(tmp_path, ["cats/ton-1.jpg,tom", *LINES[1:]]))


MISTAKES = {
    "one column": (["cats/tom-1.jpg"], "received 1 in line 1"),
    "three columns": ([LINES[0], "cats/tom-2.jpg,tom,3"], "received 3 in line 2"),
    "an empty group": ([*LINES[:2], "cats/kit-1.jpg,"], "line 3"),
    "an image twice": ([*LINES, LINES[2]], "'cats/kit-1.jpg' again in line 6"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_that_is_none_of_two_columns(tmp_path, mistake):
    lines, words = MISTAKES[mistake]
    assert words in refused(listed(tmp_path, lines))


def test_a_file_in_another_encoding(tmp_path):
    assert "UTF-8" in refused(listed(tmp_path, ["cats/mièze.jpg,tom"], "latin-1"))


def test_a_file_that_is_not_there(tmp_path):
    assert "existing .csv file" in refused(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match=r"existing \.csv file"):
        fingerprint("none.csv")


# ---- what decides


def test_the_fingerprint_is_of_contents_not_of_paths(tmp_path):
    path = listed(tmp_path, LINES)
    before = fingerprint(path)
    (tmp_path / "deep").mkdir()
    assert fingerprint(listed(tmp_path / "deep", LINES)) == before
    assert fingerprint(listed(tmp_path, LINES[1:])) != before
    assert fingerprint(r"/(\w+)-") == r"/(\w+)-"
    assert fingerprint(None) is None


@pytest.mark.parametrize("kind", ["expression", "file"])
def test_carved_splits_keep_groups_together(tmp_path, kind):
    ids = np.array([f"scan {row // 4:02}-{row}.png" for row in range(160)], object)
    labels = np.arange(160) // 80
    option = r"scan \d+"
    if kind == "file":
        option = listed(tmp_path, [f"{id},{id[:7]}" for id in ids])
    options = DataOptions(val_fraction=0.2, test_fraction=0.1, group=option)
    split = carve(ids, labels, ("a", "b"), np.full(160, "train"), options)
    for label in (0, 1):
        of_class = split[labels == label]
        assert {name: np.sum(of_class == name) for name in ("val", "test")} == {
            "val": 16,
            "test": 8,
        }
    assert all(len(set(split[start : start + 4])) == 1 for start in range(0, 160, 4))


@pytest.mark.parametrize("more", [{"limit_per_class": 3}, {"bad_images": "skip"}])
def test_a_file_may_name_images_that_are_left_out(tmp_path, more):
    path = listed(tmp_path, [*LINES, "dogs/broken.jpg,rex"])
    options = DataOptions(val_fraction=0, test_fraction=0, group=path, **more)
    carve(IDS, np.zeros(5, int), ("a",), np.full(5, "train"), options)
    with pytest.raises(InputError, match="1 others"):
        plain = DataOptions(val_fraction=0, test_fraction=0, group=path)
        carve(IDS, np.zeros(5, int), ("a",), np.full(5, "train"), plain)

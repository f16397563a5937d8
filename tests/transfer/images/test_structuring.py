"""transfer.images.structuring on real folders: names, tables, resuming, and nothing lost."""

import errno
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer.errors import InputError
from transfer.images import structuring
from transfer.images.structuring import carry_out, plan


def fill(folder, *names):
    """Creates files whose content is their name, so that a swap would be noticed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def tree(folder):
    """Every file below a folder with its content and time of change."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(folder):
    return sorted(tree(folder))


def write_table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def classes(planned):
    return {step.source.name: step.target.parent.name for step in planned.moves}


@pytest.fixture
def flat(tmp_path):
    return fill(tmp_path / "flat", "cat.1.jpg", "cat.2.jpg", "dog_0003.png", "readme.txt")


# ---- classes from file names


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("cat.12.jpg", "cat"),
        ("dog_0003.png", "dog"),
        ("great dane-17.jpg", "great dane"),
        ("cat (12).jpg", "cat"),
        ("cat(3).gif", "cat"),
        ("cat 7.BMP", "cat"),
        ("golden_retriever_5.JPEG", "golden_retriever"),
        ("Dog-3-flipped_2.webp", "Dog"),
        ("mp3-player_12.jpg", "mp3-player"),
        ("köt tør.4.jpg", "köt tør"),
        ("猫_001.png", "猫"),
        ("o'brien & co. - 2.jpg", "o'brien & co"),
        ("pes$1_2.jpg", "pes$1"),
    ],
)
def test_class_is_what_stands_before_the_number(tmp_path, name, class_name):
    planned = plan(fill(tmp_path / "in", name), tmp_path / "out")
    assert classes(planned) == {name: class_name}
    assert planned.moves[0].target == tmp_path / "out" / class_name / name


@given(
    st.from_regex(r"[a-zA-Zäöéß猫][a-zA-Zäöéß猫 _-]{0,12}[a-zA-Z猫]", fullmatch=True),
    st.sampled_from([".", "_", "-", " ", "(", " (", "__", " - "]),
    st.integers(0, 10**6),
    st.sampled_from(["", ")", "-b", ".x"]),
)
def test_any_separator_and_number_end_the_class(name, separator, number, rest):
    path = Path(f"{name}{separator}{number}{rest}.jpg")
    assert structuring._classes_from_names([path]) == {path: name}


def test_files_without_a_class_are_left_out_and_listed(tmp_path):
    source = fill(tmp_path / "in", "cat.1.jpg", "12.jpg", "cat.jpg", "_7.png", "cat12.gif")
    planned = plan(source, tmp_path / "out")
    assert classes(planned) == {"cat.1.jpg": "cat"}
    assert [path.name for path in planned.unlabelled] == [
        "12.jpg",
        "_7.png",
        "cat.jpg",
        "cat12.gif",
    ]


def test_plan_counts_and_orders_and_ignores_what_is_no_image(flat):
    fill(flat / "subfolder", "horse.1.jpg")
    fill(flat, "._cat.9.jpg", "cat.3.svg")
    planned = plan(flat, flat.parent / "out")
    assert planned.counts == {"cat": 2, "dog": 1}
    assert [step.source.name for step in planned.moves] == [
        "cat.1.jpg",
        "cat.2.jpg",
        "dog_0003.png",
    ]
    assert planned.target == flat.parent / "out"
    assert planned.unlabelled == ()
    assert planned.left_out == {".svg": 1, ".txt": 1, "hidden files": 1}


def test_plan_touches_nothing(flat, tmp_path):
    table = write_table(tmp_path, "file,label\ncat.1.jpg,lion\n")
    before = tree(tmp_path)
    plan(flat, tmp_path / "out")
    plan(flat, flat, labels=table)
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


# ---- classes from a table


@pytest.mark.parametrize("file_column", ["file", "Filename", "IMAGE", "id", "Path"])
@pytest.mark.parametrize("label_column", ["label", "Class", "CATEGORY", "species"])
def test_columns_are_found_by_name_in_any_case(flat, tmp_path, file_column, label_column):
    table = write_table(tmp_path, f"age,{label_column},{file_column}\n3,lion,cat.1.jpg\n")
    assert classes(plan(flat, tmp_path / "out", labels=table)) == {"cat.1.jpg": "lion"}


@pytest.mark.parametrize("column", ["file_name", "File Name", "image_id", "image_name", "img"])
def test_tables_as_people_have_them(flat, tmp_path, column):
    rows = "CAT.1.JPG, lion\ncat.2.png,lion\nDog_0003,dog"
    table = write_table(tmp_path, f"\n{column},Class Name,,\n{rows}\n,,\n\n , \n")
    planned = plan(flat, tmp_path / "out", labels=table)
    assert classes(planned) == {"cat.1.jpg": "lion", "cat.2.jpg": "lion", "dog_0003.png": "dog"}


def test_names_that_differ_in_case_alone_are_told_apart(tmp_path):
    source = fill(tmp_path / "in", "a.jpg", "A.jpg")
    if len(list(source.iterdir())) == 1:
        pytest.skip("this file system takes them for one")
    table = write_table(tmp_path, "file,label\na.jpg,small\nA.jpg,large\n")
    found = classes(plan(source, tmp_path / "out", labels=table))
    assert found == {"a.jpg": "small", "A.jpg": "large"}
    with pytest.raises(InputError, match=r"one image.*received A\.JPG"):
        plan(source, tmp_path / "out", labels=write_table(tmp_path, "file,label\nA.JPG,large\n"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dialects(flat, tmp_path, delimiter, encoding, newline):
    rows = [("file", "label"), ("cat.1.jpg", '"big, wild; löwe"'), ("dog_0003.png", "dog")]
    text = newline.join(delimiter.join(row) for row in rows) + newline * 2
    planned = plan(flat, tmp_path / "out", labels=write_table(tmp_path, text, encoding))
    assert classes(planned) == {"cat.1.jpg": "big, wild; löwe", "dog_0003.png": "dog"}
    assert [path.name for path in planned.unlabelled] == ["cat.2.jpg"]


def test_files_may_be_named_without_suffix_or_with_folders(tmp_path):
    source = fill(tmp_path / "in", "000bec.jpg", "a.b.png", "x y.gif", "w.jpg")
    table = write_table(
        tmp_path, "id,species\n000bec,cat\na.b,dog\ntrain/x y.gif,cat\nC:\\data\\w.jpg,dog\n"
    )
    assert classes(plan(source, tmp_path / "out", labels=table)) == {
        "000bec.jpg": "cat",
        "a.b.png": "dog",
        "x y.gif": "cat",
        "w.jpg": "dog",
    }


def test_composed_and_decomposed_letters_are_the_same_name(tmp_path):
    source = fill(tmp_path / "in", "cafe\u0301.jpg", "b.jpg")
    table = write_table(tmp_path, "file,label\ncaf\u00e9.jpg,\u00e9te\nb.jpg,e\u0301te\n")
    planned = plan(source, tmp_path / "out", labels=table)
    assert planned.counts == {"\u00e9te": 2}


def test_the_same_row_twice_is_no_contradiction(flat, tmp_path):
    table = write_table(tmp_path, "file,label\ncat.1.jpg,a\ncat.1.jpg,a\ncat.1,a\n")
    assert plan(flat, tmp_path / "out", labels=table).counts == {"a": 1}


def test_the_file_column_counts_before_the_id(flat, tmp_path):
    table = write_table(tmp_path, "id,file,label\n1,cat.1.jpg,a\n")
    assert classes(plan(flat, tmp_path / "out", labels=table)) == {"cat.1.jpg": "a"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\ngone.jpg,a\nlost.jpg,b\ncat.1.jpg,c\n", ["gone.jpg, lost.jpg"]),
        (
            "file,label\n" + "".join(f"gone{i}.jpg,a\n" for i in range(9)),
            ["gone0.jpg", "gone4.jpg and 4 more (9 in all)"],
        ),
        ("file,label\ncat.1.jpg,a\ncat.1,b\n", ["one label", "cat.1.jpg"]),
        ("name,label\ncat.1.jpg,a\n", ["file/filename", "'name,label'"]),
        ("cat.1.jpg,a\n", ["first line", "'cat.1.jpg,a'"]),
        ("", ["first line", "''"]),
        ("file,label\ncat.1.jpg\n", ["each row", "cat.1.jpg"]),
        ("file,label\n", ["received none"]),
    ],
)
def test_tables_that_do_not_fit_are_refused(flat, tmp_path, text, words):
    table = write_table(tmp_path, text)
    with pytest.raises(InputError, match=r"expected .*received") as caught:
        plan(flat, tmp_path / "out", labels=table)
    assert "\n" not in str(caught.value)
    for word in [*words, "labels.csv"]:
        assert word in str(caught.value)


def test_a_name_without_suffix_that_fits_two_files_is_refused(tmp_path):
    source = fill(tmp_path / "in", "1.jpg", "1.png")
    with pytest.raises(InputError, match="with its suffix"):
        plan(source, tmp_path / "out", labels=write_table(tmp_path, "id,label\n1,cat\n"))


def test_tables_that_cannot_be_read_are_refused(flat, tmp_path):
    with pytest.raises(InputError, match=r"UTF-8.*labels\.csv"):
        plan(flat, tmp_path, labels=write_table(tmp_path, "file,label\ncat.1.jpg,é\n", "latin-1"))
    with pytest.raises(InputError, match=r"absent\.csv"):
        plan(flat, tmp_path, labels=tmp_path / "absent.csv")


@pytest.mark.parametrize(
    "label", ["", "  ", ".", "..", "../up", "a/b", "a\\b", "/etc", ".git", "a\x00b", "n" * 256]
)
def test_unsafe_class_names_are_refused(flat, tmp_path, label):
    table = write_table(tmp_path, f"file,label\ncat.1.jpg,{label}\ndog_0003.png,dog\n")
    with pytest.raises(InputError, match="folder names") as caught:
        plan(flat, tmp_path / "out", labels=table)
    assert repr(label.strip()) in str(caught.value)


# ---- folders that do not fit


def test_sources_that_cannot_be_sorted_are_refused(flat, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        plan(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        plan(flat / "cat.1.jpg", tmp_path / "out")
    with pytest.raises(InputError, match=r"expected images .*received none"):
        plan(fill(tmp_path / "texts", "a.txt"), tmp_path / "out")
    with pytest.raises(InputError, match=r"cat\.12\.jpg.*received x\.jpg, y\.jpg"):
        plan(fill(tmp_path / "nameless", "x.jpg", "y.jpg"), tmp_path / "out")
    with pytest.raises(InputError, match="it is a file"):
        plan(flat, flat / "cat.1.jpg")


# ---- carrying it out


def test_copy_keeps_the_source_and_the_bytes(flat, tmp_path):
    before = tree(flat)
    assert carry_out(plan(flat, tmp_path / "out")) == 3
    assert tree(flat) == before
    assert names(tmp_path / "out") == ["cat/cat.1.jpg", "cat/cat.2.jpg", "dog/dog_0003.png"]
    for path in (tmp_path / "out").rglob("*.*g"):
        assert path.read_bytes() == path.name.encode()


def test_move_leaves_only_what_has_no_class(flat, tmp_path):
    fill(flat, "nameless.jpg")
    assert carry_out(plan(flat, tmp_path / "out"), move=True) == 3
    assert names(flat) == ["nameless.jpg", "readme.txt"]
    assert (tmp_path / "out" / "cat" / "cat.2.jpg").read_bytes() == b"cat.2.jpg"


@pytest.mark.parametrize("move", [False, True])
def test_a_second_run_does_nothing(flat, tmp_path, move):
    planned = plan(flat, tmp_path / "out")
    carry_out(planned, move=move)
    before = tree(tmp_path)
    assert carry_out(planned, move=move) == 0
    assert tree(tmp_path) == before


@pytest.mark.parametrize("target", [".", "sorted"])
@pytest.mark.parametrize("move", [False, True])
def test_target_may_be_the_source_or_inside_it(flat, target, move):
    carry_out(plan(flat, flat / target), move=move)
    assert (flat / target / "cat" / "cat.1.jpg").read_bytes() == b"cat.1.jpg"
    assert (flat / "cat.1.jpg").exists() is not move
    if not move:
        again = plan(flat, flat / target)
        assert len(again.moves) == 3, "sorted copies must not be taken for images"
        assert carry_out(again) == 0


def test_a_second_batch_joins_the_first(flat, tmp_path):
    out = tmp_path / "out"
    carry_out(plan(flat, out))
    fill(out / "horse", "mine.txt")
    carry_out(plan(fill(tmp_path / "more", "cat.7.jpg", "bird.1.jpg"), out))
    assert names(out) == [
        "bird/bird.1.jpg", "cat/cat.1.jpg", "cat/cat.2.jpg", "cat/cat.7.jpg",
        "dog/dog_0003.png", "horse/mine.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("move", [False, True])
def test_a_different_file_in_the_way_stops_before_anything_is_done(flat, tmp_path, move):
    fill(tmp_path / "out" / "dog")
    (tmp_path / "out" / "dog" / "dog_0003.png").write_bytes(b"a dog of mine")
    planned = plan(flat, tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"received .*dog_0003\.png"):
        carry_out(planned, move=move)
    assert tree(tmp_path) == before
    assert not (tmp_path / "out" / "cat").exists()


def test_a_file_where_a_class_folder_belongs_stops_before_anything_is_done(flat, tmp_path):
    fill(tmp_path / "out", "dog")
    with pytest.raises(InputError, match=r"received files: .*dog"):
        carry_out(plan(flat, tmp_path / "out"))
    assert names(tmp_path / "out") == ["dog"]


def test_an_image_that_vanished_after_planning_stops_before_anything_is_done(flat, tmp_path):
    planned = plan(flat, tmp_path / "out")
    (flat / "cat.2.jpg").unlink()
    with pytest.raises(InputError, match=r"gone: cat\.2\.jpg"):
        carry_out(planned)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_copying_resumes_after_an_interruption(flat, tmp_path, monkeypatch, fails_at):
    planned = plan(flat, tmp_path / "out")
    real_copy, copied = shutil.copyfile, Counter()

    def interrupted_copy(source, target):
        if sum(copied.values()) == fails_at:
            Path(target).write_bytes(b"ha")  # half of it
            raise KeyboardInterrupt
        copied[Path(source).name] += 1
        return real_copy(source, target)

    monkeypatch.setattr(structuring.shutil, "copyfile", interrupted_copy)
    with pytest.raises(KeyboardInterrupt):
        carry_out(planned)
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(found) == fails_at, "no half file may stay"
    assert all(path.read_bytes() == path.name.encode() for path in found)

    monkeypatch.setattr(structuring.shutil, "copyfile", real_copy)
    assert carry_out(planned) == 3 - fails_at
    assert names(tmp_path / "out") == ["cat/cat.1.jpg", "cat/cat.2.jpg", "dog/dog_0003.png"]


def test_a_name_with_a_control_character_stays_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"received '\\x1b\\n\.jpg': rename"):
        plan(fill(tmp_path / "flat", "\x1b\n.jpg"), tmp_path / "out")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_copying_to_a_disk_that_keeps_no_times(flat, tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "utime", refuse)
    assert carry_out(plan(flat, tmp_path / "out")) == 3
    assert names(tmp_path / "out") == ["cat/cat.1.jpg", "cat/cat.2.jpg", "dog/dog_0003.png"]


def test_what_a_killed_run_left_behind_is_replaced(flat, tmp_path):
    fill(tmp_path / "out" / "cat", ".cat.1.jpg.partial")
    carry_out(plan(flat, tmp_path / "out"))
    assert names(tmp_path / "out" / "cat") == ["cat.1.jpg", "cat.2.jpg"]


def test_moving_resumes_from_the_old_plan_and_from_a_new_one(flat, tmp_path):
    planned = plan(flat, tmp_path / "out")
    first = planned.moves[0]
    first.target.parent.mkdir(parents=True)
    first.source.rename(first.target)
    assert carry_out(planned, move=True) == 2
    assert names(flat) == ["readme.txt"]


def test_moving_removes_a_source_that_was_copied_before(flat, tmp_path):
    carry_out(plan(flat, tmp_path / "out"))
    assert carry_out(plan(flat, tmp_path / "out"), move=True) == 0
    assert names(flat) == ["readme.txt"]
    assert len(names(tmp_path / "out")) == 3


def test_moving_to_another_file_system_copies_then_removes(flat, tmp_path, monkeypatch):
    def rename(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", rename)
    assert carry_out(plan(flat, tmp_path / "out"), move=True) == 3
    assert names(flat) == ["readme.txt"]
    assert names(tmp_path / "out") == ["cat/cat.1.jpg", "cat/cat.2.jpg", "dog/dog_0003.png"]


def test_a_class_folder_that_links_back_to_the_source_loses_nothing(flat, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat").symlink_to(flat, target_is_directory=True)
    carry_out(plan(flat, tmp_path / "out"), move=True)
    assert (flat / "cat.1.jpg").read_bytes() == b"cat.1.jpg"


def test_moving_a_link_brings_the_image_itself(tmp_path):
    fill(tmp_path / "store", "x.jpg")
    source = fill(tmp_path / "in")
    (source / "cat.1.jpg").symlink_to("../store/x.jpg")
    carry_out(plan(source, tmp_path / "out" / "deep"), move=True)
    placed = tmp_path / "out" / "deep" / "cat" / "cat.1.jpg"
    assert not placed.is_symlink()
    assert placed.read_bytes() == b"x.jpg"
    assert names(source) == []
    assert names(tmp_path / "store") == ["x.jpg"]

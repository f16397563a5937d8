"""Tables that people write: every habit of spreadsheets, and names that are nearly right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer.errors import InputError
from transfer.images.tables import find_column, match_names, read_table

ROWS = [["file", "label"], ["a,1.jpg", "big; wild"], ["ü.jpg", 'the "cat"']]


def write(folder, data):
    path = folder / "table.csv"
    path.write_bytes(data)
    return path


def quoted(rows, delimiter, end):
    cells = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
    return "".join(delimiter.join(row) + end for row in cells)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_dialect_gives_the_same_rows(tmp_path, delimiter, encoding, end):
    blank = f"{delimiter}{end}{end}"
    text = quoted(ROWS, delimiter, end) + blank
    table = read_table(write(tmp_path, text.encode(encoding)))
    assert [table.header, *table.rows] == ROWS
    assert table.lines == [2, 3]


def test_lines_are_those_of_the_file(tmp_path):
    text = b'\n,,\nfile,label\n\n"two\nlines.jpg",cat\n , \nb.jpg,dog\n'
    header, rows, lines = read_table(write(tmp_path, text))
    assert (header, rows) == (["file", "label"], [["two\nlines.jpg", "cat"], ["b.jpg", "dog"]])
    assert lines == [6, 8]


def test_a_delimiter_in_a_name_is_not_taken_for_that_of_the_table(tmp_path):
    header, rows, _ = read_table(write(tmp_path, b"a,1.jpg;cat\nb.jpg;dog\nc.jpg;cat\n"))
    assert [header, *rows] == [["a,1.jpg", "cat"], ["b.jpg", "dog"], ["c.jpg", "cat"]]


def test_an_empty_file_has_no_rows(tmp_path):
    assert read_table(write(tmp_path, b"\xef\xbb\xbf \n")) == ([], [], [])


@pytest.mark.parametrize(
    ("data", "reason"), [(b"file,label\na,\xe9\n", "decode"), (None, "No such file")]
)
def test_what_cannot_be_read_is_one_line(tmp_path, data, reason):
    path = tmp_path / "absent.csv" if data is None else write(tmp_path, data)
    with pytest.raises(InputError, match=f"UTF-8, received .*{path.name}.*{reason}") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_columns_are_found_however_they_are_written():
    for written in ("file_name", "File Name", "FILENAME", "file-name", "file.name"):
        assert find_column(["age", written], ["path", "filename"]) == 1
    assert find_column(["id", "file"], ["file", "id"]) == 1, "the first name wins, not the column"
    assert find_column(["name"], ["file", "id"]) is None


IDS = ["cats/1.jpg", "cats/2.jpg", "dogs/2.jpg", "dogs/3.png", "dogs/Ü.b.tif"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cats/1.jpg", ["cats/1.jpg"]),
        ("CATS\\1.JPG", ["cats/1.jpg"]),
        ("./cats/1.jpg", ["cats/1.jpg"]),
        ("/data/photos/cats/1.jpg", ["cats/1.jpg"]),
        ("1.jpg", ["cats/1.jpg"]),
        ("1", ["cats/1.jpg"]),
        ("3.JPEG", ["dogs/3.png"]),
        ("2.jpg", ["cats/2.jpg", "dogs/2.jpg"]),
        ("dogs/2", ["dogs/2.jpg"]),
        ("u\u0308.B", ["dogs/Ü.b.tif"]),
        ("dogs/1.jpg", []),
        ("s/1.jpg", []),
        ("4.jpg", []),
    ],
)
def test_a_name_means_what_it_can_only_mean(name, meant):
    assert match_names([name], IDS) == [meant]


def test_the_strictest_reading_counts():
    ids = ["a.jpg", "A.jpg", "a.png"]
    names = ["a.jpg", "A.jpg", "a.png", "A.PNG", "a"]
    assert match_names(["A.JPG"], ids) == [["a.jpg", "A.jpg"]]
    assert match_names(["a"], ids) == [["a.jpg", "A.jpg", "a.png"]]
    exact, others = [["a.jpg"], ["A.jpg"], ["a.png"]], [["a.png"], ids]
    assert match_names(names, ids) == exact + others


@given(st.lists(st.text("ab/.", min_size=1, max_size=6), unique=True, max_size=6))
def test_exact_names_always_mean_themselves(ids):
    assert match_names(ids, ids) == [[id] for id in ids]

"""Names in zips: those that people gave, whatever program packed them."""

import struct
import zipfile
import zlib
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer.images.archives import open_listing
from transfer.images.zip_names import names_of

DOS, UNIX = 0, 3


def packed(path, names, system=UNIX, extra=None, utf_8=False):
    """Writes a zip whose members have the very bytes given as names, and hold them, too."""
    local, central = b"", b""
    for raw in names:
        size, crc, flags = len(raw), zlib.crc32(raw), utf_8 * 0x800
        field = extra(raw) if extra else b""
        sizes = crc, size, size, len(raw), len(field)
        head = struct.pack("<HHHHHLLLHH", 20, flags, 0, 0, 33, *sizes)
        tail = struct.pack("<HHHLL", 0, 0, 0, 0, len(local))
        central += b"PK\1\2" + bytes([20, system]) + head + tail + raw + field
        local += b"PK\3\4" + head + raw + field + raw
    count = len(names)
    end = struct.pack("<HHHHLLH", 0, 0, count, count, len(central), len(local), 0)
    path.write_bytes(local + central + b"PK\5\6" + end)
    return path


def unicode_path(raw, name="Bär/猫.jpg", crc=None):
    field = struct.pack("<BL", 1, zlib.crc32(raw) if crc is None else crc) + name.encode()
    return b"UT\5\0\0\0\0\0\0" + struct.pack("<HH", 0x7075, len(field)) + field


def listed(path):
    """The files' names, after all of them were read by them."""
    listing = open_listing(path)
    contents = [read() for read in listing.contents.readers(np.arange(len(listing.files)))]
    with zipfile.ZipFile(path) as archive:
        stored = [archive.read(one) for one in archive.infolist() if one.file_size]
    assert set(contents) <= set(stored)
    return listing.files


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_macos_writes_utf_8_without_saying_so(tmp_path, form):
    name = normalize(form, "Bär/Größe 猫.jpg")  # as it is on disk, so that ids are those there
    assert listed(packed(tmp_path / "a.zip", [name.encode()])) == [name]


@pytest.mark.parametrize("system", [DOS, UNIX])
@pytest.mark.parametrize("name", ["Bär/ü.jpg", "Ñandú/É.jpg"])
def test_a_name_in_dos_letters_stays_right(tmp_path, name, system):
    raw = name.encode("cp437")
    assert raw != name.encode()
    assert listed(packed(tmp_path / "a.zip", [raw], system)) == [name]


def test_a_name_that_says_it_is_utf_8_is(tmp_path):
    assert listed(packed(tmp_path / "a.zip", ["é/ä.jpg".encode()], utf_8=True)) == ["é/ä.jpg"]


@pytest.mark.parametrize("raw", [b"B?r/?.jpg", "Bär/_.jpg".encode("cp437"), "Bär/ö.jpg".encode()])
def test_the_extra_field_wins_where_it_was_written_for_this_name(tmp_path, raw):
    assert listed(packed(tmp_path / "a.zip", [raw], DOS, unicode_path)) == ["Bär/猫.jpg"]


@pytest.mark.parametrize(
    "extra",
    [
        lambda raw: unicode_path(raw, crc=1),
        lambda raw: unicode_path(raw)[:-1],
        lambda raw: b"up",
        lambda raw: struct.pack("<HH", 0x7075, 2) + b"\1\0",
    ],
    ids=["of another name", "cut in a letter", "too short", "without a name"],
)
def test_an_extra_field_that_is_not_for_this_name_says_nothing(extra):
    member = zipfile.ZipInfo("B?r/1.jpg")
    member.extra = extra(b"B?r/1.jpg").replace("猫.jpg".encode()[:-1], b"\xe7")
    assert names_of([member]) == ["B?r/1.jpg"]


def test_backslashes_of_windows_part_folders(tmp_path):
    names = [b"cats\\", b"cats\\1.jpg", b"C:\\dogs\\2.jpg"]
    listing = open_listing(packed(tmp_path / "a.zip", names, DOS))
    assert listing.files == ["cats/1.jpg", "C:/dogs/2.jpg"]
    assert listing.folders == ["cats"]


def test_backslashes_part_folders_where_nothing_else_does(tmp_path):
    assert listed(packed(tmp_path / "a.zip", [b"cats\\1.jpg", b"dogs\\2.jpg"])) == [
        "cats/1.jpg",
        "dogs/2.jpg",
    ]


def test_a_backslash_in_a_name_of_unix_is_a_letter(tmp_path):
    names = ["cats/1.jpg", "cats/a\\b.jpg"]
    assert listed(packed(tmp_path / "a.zip", [name.encode() for name in names])) == names


def test_nothing_leads_out_of_the_archive(tmp_path):
    names = [b"/cats/1.jpg", b"../cats/2.jpg", b"a/../../dogs/./3.jpg", b"//dogs//4.jpg"]
    path = packed(tmp_path / "a.zip", names)
    assert listed(path) == ["cats/1.jpg", "cats/2.jpg", "dogs/3.jpg", "dogs/4.jpg"]


@given(st.text(min_size=1).filter(lambda name: "\0" not in name))
def test_every_name_of_unicode_comes_back(name):
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return
    member = zipfile.ZipInfo(raw.decode("cp437"))
    assert names_of([member, zipfile.ZipInfo("a/b")])[0] == name

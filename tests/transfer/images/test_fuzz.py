"""Bytes and names of any kind: an image, a reason in one line, or a refusal in one line.

Some examples, always the same, take seconds. `make fuzz` tries new ones for FUZZ_MINUTES.
"""

import contextlib
import functools
import hashlib
import io
import os
import struct
import tarfile
import tempfile
import time
import warnings
import zipfile
import zlib
from pathlib import Path
from unicodedata import category, normalize

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.cli import main
from transfer.errors import InputError
from transfer.images.decoding import BadImage, check_head, decode, decoded_size
from transfer.images.digests import image_digests
from transfer.images.file_names import SUFFIXES, is_hidden
from transfer.images.sources import DataOptions, digest, load_as_given

MINUTES = float(os.environ.get("FUZZ_MINUTES", 0))
TESTS = 4
WRITABLE = Image.registered_extensions()
MOST_PIXELS = 200_000
"""A head that promises more is refused; else most of the time would go into empty pixels."""


def fuzzed(examples, **strategies):
    """Runs a test on some examples; where `FUZZ_MINUTES` is set, on new ones for its share of them.

    Args:
        examples: How many.
        strategies: As `hypothesis.given` takes them.
    """

    def decorate(test):
        tried = settings(
            max_examples=1000 if MINUTES else examples,
            derandomize=not MINUTES,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(given(**strategies)(test))

        @functools.wraps(test)
        def repeated():
            end = time.monotonic() + 60 * MINUTES / TESTS
            with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                patch.setattr(Image, "MAX_IMAGE_PIXELS", MOST_PIXELS)
                tried()
                while time.monotonic() < end:
                    tried()

        del repeated.__wrapped__  # whose arguments pytest would take for fixtures
        return repeated

    return decorate


# --- bytes -------------------------------------------------------------------------------------


def small_files():
    """A few small files of every format that is read, in every mode that it has."""
    pixels = np.arange(7 * 9 * 4, dtype=np.uint8).reshape(7, 9, 4)
    colours = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    ways = [{}, {"exif": exif}, {"progressive": True}, {"lossless": True}, {"optimize": True}]
    ways += [{"save_all": True, "append_images": [colours.convert("RGB").rotate(90)]}]
    Image.init()
    found = {}
    for name in sorted({WRITABLE[suffix] for suffix in SUFFIXES if suffix in WRITABLE}):
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
            image = colours.convert("L").convert(mode) if mode == "I;16" else colours.convert(mode)
            for way in ways:
                file = io.BytesIO()
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
                    image.save(file, name, **way)
                    found.setdefault(file.getvalue(), name)
    return found


FILES = small_files()
SEEDS = list(FILES)
PNGS = [data for data, name in FILES.items() if name == "PNG"]


@st.composite
def edited(draw, seeds):
    """A file with some of its bytes changed, left out, doubled, or cut off at the end."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        stop = min(len(data), at + draw(st.integers(1, 16)))
        kind = draw(st.sampled_from(["set", "random", "drop", "double", "cut", "graft"]))
        if kind == "set":
            data[at] = draw(st.sampled_from([0, 1, 127, 128, 254, 255]))
        elif kind == "random":
            data[at:stop] = draw(st.binary(max_size=16))
        elif kind == "drop":
            del data[at:stop]
        elif kind == "double":
            data[at:at] = data[at:stop]
        elif kind == "cut":
            del data[at:]
        else:
            other = draw(st.sampled_from(seeds))
            data[at:] = other[min(at, len(other)) :]
    return bytes(data)


@st.composite
def png_of_other_chunks(draw):
    """A PNG whose chunks are left out, doubled, moved or changed, with right checksums."""
    chunks = list(png_chunks(draw(st.sampled_from(PNGS))))
    for _ in range(draw(st.integers(1, 4))):
        if not chunks:
            break
        at = draw(st.integers(0, len(chunks) - 1))
        kind, content = chunks[at]
        what = draw(st.sampled_from(["drop", "double", "move", "rename", "edit"]))
        if what == "drop":
            del chunks[at]
        elif what == "double":
            chunks.insert(at, chunks[at])
        elif what == "move":
            chunks.insert(draw(st.integers(0, len(chunks) - 1)), chunks.pop(at))
        elif what == "rename":
            names = [
                b"IHDR",
                b"PLTE",
                b"IDAT",
                b"IEND",
                b"tRNS",
                b"eXIf",
                b"zTXt",
                b"iCCP",
                b"acTL",
            ]
            chunks[at] = (draw(st.sampled_from([*names, b"fcTL", b"fdAT"])), content)
        elif content:
            place = draw(st.integers(0, len(content) - 1))
            byte = bytes([draw(st.integers(0, 255))])
            chunks[at] = (kind, content[:place] + byte + content[place + 1 :])
    body = b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def png_chunks(data):
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


CONTENTS = st.one_of(edited(SEEDS), edited(SEEDS), png_of_other_chunks(), st.binary(max_size=64))


def outcome(function, data):
    """What a function makes of a file's bytes; of a bad one the reason."""
    try:
        return function(data, "cat/1.jpg")
    except BadImage as error:
        assert error.id == "cat/1.jpg"
        check_line(error.reason)
        return error.reason


def check_line(text):
    """One line, in which nothing steers a terminal or ends the line for some program."""
    wrong = [letter for letter in text if category(letter) in ("Cc", "Zl", "Zp")]
    assert text and not wrong, f"expected one line, received {text!r}"


@fuzzed(300, data=CONTENTS)
def test_bytes_are_an_image_or_bad_in_one_line(data):
    pixels, head = outcome(decode, data), outcome(check_head, data)
    size = outcome(decoded_size, data)
    if isinstance(pixels, str):
        assert head in (None, pixels)
        return
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
    assert pixels.size
    assert head is None
    assert size == pixels.shape[:2]


def test_every_format_is_among_the_files():
    names = {WRITABLE[suffix] for suffix in SUFFIXES if suffix in WRITABLE}
    assert set(FILES.values()) == names
    assert not [name for data, name in FILES.items() if isinstance(outcome(decode, data), str)]


# --- names -------------------------------------------------------------------------------------

PICTURE = PNGS[0]
LETTERS = st.one_of(
    st.sampled_from([*"ab1. []{}()*?!\\:;,'\"$%&#~|<>-_=+@`", "ä", "\u0308", "İ", "ß", "日", "🐈"]),
    st.characters(codec="utf-8", exclude_characters="/\0"),
)
NOT_UTF8 = st.integers(0x80, 0xFF).map(lambda byte: chr(0xDC00 + byte))
"""As Python reads bytes of a name that are no UTF-8."""
NO_SUFFIX = st.just("")
SUFFIX = st.sampled_from([*SUFFIXES, *(one.upper() for one in SUFFIXES), ".Jpg", ".txt", ""])


@st.composite
def part(draw, suffix=NO_SUFFIX):
    """One name of a path, as long as a disk takes it."""
    letters = st.one_of(LETTERS, LETTERS, LETTERS, NOT_UTF8) if draw(st.booleans()) else LETTERS
    name = draw(st.text(letters, min_size=1, max_size=12)) * draw(st.sampled_from([1, 1, 1, 20]))
    end = draw(suffix)
    while len(os.fsencode(name + end)) > 255:
        name = name[:-1]
    if draw(st.integers(0, 3)) == 0:
        name = normalize(draw(st.sampled_from(["NFC", "NFD"])), name)[:60]
    name = os.fsdecode(os.fsencode(name + end))  # odd bytes may have met to letters
    return name if name not in (".", "..") else "dots"


@st.composite
def trees(draw):
    """Paths of files, and what they hold: mostly pictures in class folders."""
    plain = st.sampled_from(["cat", "dog", "Cat", "train", "TEST", "val", "__MACOSX", ".hidden"])
    tops = draw(st.lists(st.one_of(plain, part()), min_size=1, max_size=3, unique=True))
    files = {}
    for number in range(draw(st.integers(1, 6))):
        folders = [draw(st.sampled_from(tops))] if draw(st.integers(0, 5)) else []
        folders += draw(st.lists(st.one_of(plain, part()), max_size=1))
        name = draw(st.one_of(part(SUFFIX), st.just("1.jpg")))
        picture = draw(st.sampled_from([PICTURE, PICTURE + bytes([number]), b""]))
        files["/".join([*folders, name])] = picture
    folders = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, 3)}
    return {
        name: data
        for name, data in files.items()
        if name not in {one for one in folders if any(f.startswith(f"{one}/") for f in files)}
    }


def write_folder(place, files):
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


def write_zip(place, files):
    with zipfile.ZipFile(place, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def write_tar(place, files, mode="w"):
    with tarfile.open(place, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


WRITERS = {
    "folder": write_folder,
    "data.zip": write_zip,
    "data.tar": write_tar,
    "data.tar.gz": functools.partial(write_tar, mode="w:gz"),
}


def rows_of(path):
    """Per id its class, split and digest; None if refused, in one line."""
    options = DataOptions(str(path))
    try:
        images = load_as_given(options)
        digests = image_digests(images)
        digest(options)
    except InputError as error:
        check_line(str(error))
        return None
    classes = [images.class_names[label] for label in images.labels]
    rows = zip(classes, images.split.tolist(), map(bytes, digests), strict=True)
    return dict(zip(images.ids.tolist(), rows, strict=True))


def is_visible_image(name):
    return not is_hidden(name) and name.lower().endswith(SUFFIXES)


@fuzzed(50, files=trees())
def test_a_folder_and_its_archives_have_the_same_images_and_lose_none(files):
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, write in WRITERS.items():
            with contextlib.suppress(UnicodeEncodeError):  # a zip holds no names but in UTF-8
                write(Path(folder, name), files)
                found[name] = rows_of(Path(folder, name))
    first = found["folder"]
    assert all(rows == first for rows in found.values()), found
    if first is not None:
        expected = sorted(
            hashlib.sha256(data).digest() for name, data in files.items() if is_visible_image(name)
        )
        assert sorted(row[2] for row in first.values()) == expected
        assert all(any(name.endswith(id) for name in files) for id in first)


@fuzzed(25, files=trees())
def test_a_command_says_what_is_wrong_with_names_in_one_line(files):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "flat")
        write_folder(source, files)
        said, complaint = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        complaint.reconfigure(errors="backslashreplace")  # as Python has it
        words = ["structure", "--source", str(source), "--target", f"{folder}/sorted"]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
            code = main([*words, "--apply"])
        complaint.seek(0)
        if code:
            assert code == 2
            (line,) = complaint.read().splitlines()
            check_line(line)


# --- archives ----------------------------------------------------------------------------------


def small_archives():
    files = {
        "cat/1.png": PICTURE,
        "cat/2.png": PICTURE[:-3],
        "dog/ä.jpg": SEEDS[0],
        "dog/b.gif": b"",
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, write in WRITERS.items():
            if name != "folder":
                write(Path(folder, name), files)
                yield Path(folder, name).read_bytes()


ARCHIVES = list(small_archives())


@fuzzed(100, data=edited(ARCHIVES))
def test_a_damaged_archive_is_refused_or_read(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        path.write_bytes(data)
        rows = rows_of(path)
        if rows is None:
            return
        with contextlib.suppress(InputError):
            images = load_as_given(DataOptions(str(path)))
            for row, image in images.stream():
                if isinstance(image, BadImage):
                    assert image.id == images.ids[row]
                    check_line(image.reason)

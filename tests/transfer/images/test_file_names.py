"""Names of files: images, what systems leave beside them, and counts of what is left out."""

import pytest

from transfer.images.file_names import (
    choose_images,
    is_hidden,
    is_image,
    kinds_in_words,
    without_suffix,
)


@pytest.mark.parametrize(
    "path",
    [
        *("._cat.jpg", "a/._cat.jpg", ".DS_Store", "a/.ipynb_checkpoints/1-checkpoint.png"),
        *("__MACOSX/a/1.jpg", "a/@eaDir/1.jpg/SYNOFILE_THUMB_XL.jpg", "a/@EADIR/x.png"),
        *("#recycle/1.jpg", "$RECYCLE.BIN/1.jpg", "System Volume Information/1.jpg"),
        *("lost+found", "lost+found/1.jpg", "Thumbs.db", "a/thumbs.db", "a/desktop.ini", "..."),
    ],
)
def test_what_systems_leave_is_hidden(path):
    assert is_hidden(path)


@pytest.mark.parametrize(
    "path",
    [
        *("cat.jpg", "a/b.c/1.jpg", "./a/1.jpg", "../a/1.jpg", "..", "a/..", "lost+found.jpg"),
        *("a/Thumbs.db.jpg", "my__MACOSX/1.jpg", "recycle/1.jpg", "desktop.initial/1.jpg"),
    ],
)
def test_what_only_resembles_it_is_not(path):
    assert not is_hidden(path)


def test_images_are_known_by_their_suffix_in_any_case():
    assert all(is_image(f"a.{suffix}") for suffix in ("jpg", "JPG", "Tiff", "avif", "jfif", "HEIC"))
    assert not any(is_image(name) for name in ("a.txt", "jpg", "a.jpg.part", "a.svg", "a.mp4"))
    assert without_suffix("a/b.1.JPG") == "a/b.1"
    assert without_suffix("a/b.1") == "a/b.1"


def test_every_file_is_an_image_or_counted():
    names = ["b.txt", "a/1.jpg", "c.TXT", "clip.mp4", "README", "a/2.png", "._1.jpg", ".x/1.png"]
    chosen = choose_images([*names, ".DS_Store", "Thumbs.db"])
    assert (chosen.images, chosen.places.tolist()) == (["a/1.jpg", "a/2.png"], [1, 5])
    assert kinds_in_words(chosen.left_out) == "2 .txt, 1 .mp4, 1 without a suffix, 2 hidden files"


def test_nothing_left_out_needs_no_words():
    assert kinds_in_words(choose_images(["a.jpg", ".DS_Store"]).left_out) == ""
    assert kinds_in_words(choose_images(["a.jpg", "._a.jpg"]).left_out) == "1 hidden file"


def test_many_kinds_are_summed_up():
    kinds = {f".{letter}": 10 - place for place, letter in enumerate("abcdefgh")}
    assert kinds_in_words(kinds) == "10 .a, 9 .b, 8 .c, 7 .d, 6 .e, 12 of other kinds"


def test_kinds_stay_in_one_line():
    left_out = choose_images(["a.jpg", "a.x\x01\n"]).left_out
    assert kinds_in_words(left_out) == r"1 .x\x01\n"

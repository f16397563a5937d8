"""Standard input: an image, or paths."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.standard_input import GivenImage, read_images
from transfer.errors import InputError


def give(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_an_image_is_told_by_how_it_begins(kind, monkeypatch):
    file = io.BytesIO()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(file, kind)
    for content in (file.getvalue(), file.getvalue()[:30]):  # damaged, it is an image all the same
        give(monkeypatch, content)
        given = read_images()
        assert isinstance(given, GivenImage)
        assert [read() for read in given.readers(np.array([0]))] == [content]


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\0"])
def test_paths_come_by_line_or_with_nul(between, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = [b"BMW 1.jpg", b"caf\xe9.jpg", b"[x].jpg", *([b"a\nb.jpg"] if between == b"\0" else [])]
    for name in names:
        Path(os.fsdecode(name)).touch()
    for content in (between.join(names), between.join(names) + between):
        give(monkeypatch, content)
        assert read_images() == tuple(map(os.fsdecode, names))


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "received nothing"),
        (b"\n\n", "received nothing"),
        (b"nowhere.jpg\n", "received 'nowhere.jpg', where no file is"),
        (b"RIF*\0" * 600, "received 'RIF*', where no file is"),
    ],
)
def test_what_is_neither_is_refused_in_a_short_line(content, received, monkeypatch):
    give(monkeypatch, content)
    with pytest.raises(InputError, match="expects an image") as refused:
        read_images()
    assert str(refused.value).endswith(received)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="received nothing"):
        read_images()

"""What does not fit is refused before it starts, with the arithmetic."""

import shutil
from collections import namedtuple

import numpy as np
import pytest

from cache import FeatureWriter
from pipelines.extracting import room
from tests.cache.test_cache import ids_of
from tests.cache.test_spec import SPEC
from transfer.errors import InputError

Usage = namedtuple("Usage", "total used free")
SHAPES = {"wide": (1000,), "spatial": (2, 2, 6)}


def writer(root, rows=5000):
    return FeatureWriter(root, SPEC, ids_of(rows), SHAPES)


def test_the_arithmetic(tmp_path, monkeypatch):
    needed = 5000 * 1024 * 4 * 2
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed))
    monkeypatch.setattr(room, "available_memory", lambda: 2**30)
    said = room.check_room(writer(tmp_path))
    assert said == (
        "5,000 images x 1,024 x float32 = 19.5 MiB; 39.1 MiB of disk until sealed, 39.1 MiB free; "
        "32.0 MiB of memory, 1.0 GiB free"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed - 1))
    with pytest.raises(InputError, match=r"more disk than there is: 5,000 images .* float16"):
        room.check_room(writer(tmp_path))


def test_parts_that_are_written_need_no_more_room(tmp_path, monkeypatch):
    first = writer(tmp_path)
    rows = np.arange(4096)
    first.write(rows, {name: np.zeros((4096, *shape)) for name, shape in SHAPES.items()})
    first.wait()
    needed = 5000 * 4096 + (5000 - 4096) * 4096
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed))
    room.check_room(writer(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed - 1))
    with pytest.raises(InputError, match="more disk"):
        room.check_room(writer(tmp_path))


def test_too_little_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda: 2**25 - 1)
    with pytest.raises(InputError, match=r"8,192 rows x 1,024 .* 32.0 MiB of"):
        room.check_room(writer(tmp_path))

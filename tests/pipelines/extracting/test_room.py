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


def test_a_container_may_have_less_memory_than_the_machine(tmp_path, monkeypatch):
    machine = room.available_memory()
    assert machine > 2**20
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("3000000\n")
    used.write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000\nfile 400000\n")
    monkeypatch.setattr(room, "CGROUP_LIMITS", ((str(limit), str(used), "file"),))
    assert room.available_memory() == 2_400_000  # what files are cached is given up
    limit.write_text("max\n")
    assert room.available_memory() > 2**20


@pytest.mark.parametrize(
    "num_bytes, words",
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (2**40 * 3, "3.0 TiB")],
)
def test_bytes_in_words(num_bytes, words):
    assert room.in_words(num_bytes) == words

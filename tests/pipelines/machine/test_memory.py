"""Memory that can be had, in a container too, and bytes in words."""

import pytest

from pipelines.machine import memory


def test_a_container_may_have_less_memory_than_the_machine(tmp_path, monkeypatch):
    machine = memory.available_memory()
    assert machine > 2**20
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("3000000\n")
    used.write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000\nfile 400000\n")
    monkeypatch.setattr(memory, "CGROUP_LIMITS", ((str(limit), str(used), "file"),))
    assert memory.available_memory() == 2_400_000  # what files are cached is given up
    limit.write_text("max\n")
    assert memory.available_memory() > 2**20


@pytest.mark.parametrize(
    "num_bytes, words",
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (2**40 * 3, "3.0 TiB")],
)
def test_bytes_in_words(num_bytes, words):
    assert memory.in_words(num_bytes) == words

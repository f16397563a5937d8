"""Memory that can be had, in a container, a job or a service too, and bytes in words."""

import pytest

from pipelines.machine import memory
from tests.transfer.machine.control_groups import group, groups_are


def stat(prefix, files):
    """`memory.stat` of a group that has cached so many bytes of files, and files in memory."""
    active = f"{prefix}active_file {files - 1000}\n{prefix}inactive_file 1000"
    return f"anon 600000\n{prefix}shmem 50000\n{active}"


def test_the_least_limit_of_nested_groups_counts(tmp_path, monkeypatch):
    unlimited = memory.available_memory()
    assert unlimited > 2**20
    mounts = [("/", "cg", "cgroup2 cgroup2 rw")]
    groups_are(monkeypatch, tmp_path, ["0::/slice/a.service"], mounts)
    above = tmp_path / "cg" / "slice"
    group(tmp_path / "cg")
    group(above, memory_max=5_000_000, memory_current=1_000_000, memory_stat=stat("", 400_000))
    group(above / "a.service", memory_max="max", memory_current=1, memory_stat=stat("", 1000))
    assert memory.available_memory() == 4_400_000  # what files are cached is given up
    group(above / "a.service", memory_max=3_000_000, memory_current=900_000)
    assert memory.available_memory() == 2_101_000
    group(above / "a.service", memory_max=800_000)
    assert memory.available_memory() == 0
    for folder in (above, above / "a.service"):
        group(folder, memory_max="max")
    assert memory.available_memory() > 2**20


def test_version_1_has_other_files(tmp_path, monkeypatch):
    mounts = [("/docker/abc", "memory", "cgroup cgroup rw,memory")]
    groups_are(monkeypatch, tmp_path, ["4:memory:/docker/abc"], mounts)
    files = {"limit_in_bytes": 3_000_000, "usage_in_bytes": 1_000_000}
    names = {f"memory_{name}": value for name, value in files.items()}
    group(tmp_path / "memory", **names, memory_stat=stat("total_", 400_000))
    assert memory.available_memory() == 2_400_000


@pytest.mark.parametrize(
    "num_bytes, words",
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (2**40 * 3, "3.0 TiB")],
)
def test_bytes_in_words(num_bytes, words):
    assert memory.in_words(num_bytes) == words

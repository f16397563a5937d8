"""Control groups of a process: nested ones, in both versions, and those of containers."""

from pathlib import Path

import pytest

from tests.transfer.machine.control_groups import groups_are
from transfer.machine import control_groups
from transfer.machine.control_groups import groups_of

LAYOUTS = {
    "a service of systemd": (
        ["0::/system.slice/x.service"],
        [("/", "unified", "cgroup2 cgroup2 rw")],
        ["unified/system.slice/x.service", "unified/system.slice", "unified"],
    ),
    "a job of SLURM, version 1": (
        ["9:memory:/slurm/uid_7/job_1/step_0", "3:cpu,cpuacct:/", "0::/"],
        [
            ("/", "memory", "cgroup cgroup rw,memory"),
            ("/", "cpu", "cgroup cgroup rw,cpu,cpuacct"),
        ],
        [
            *("memory/slurm/uid_7/job_1/step_0", "memory/slurm/uid_7/job_1"),
            *("memory/slurm/uid_7", "memory/slurm", "memory"),
        ],
    ),
    "a container that sees its own group as the uppermost": (
        ["0::/"],
        [("/", "unified", "cgroup2 cgroup rw,nsdelegate")],
        ["unified"],
    ),
    "a container of version 1, mounted from its own group": (
        ["4:memory:/docker/abc/inner"],
        [("/docker/abc", "memory", "cgroup cgroup rw,memory")],
        ["memory/inner", "memory"],
    ),
    "a container that only knows its name on the host": (
        ["4:memory:/kubepods/pod1"],
        [("/docker/abc", "memory", "cgroup cgroup rw,memory")],
        ["memory"],
    ),
    "a group outside of what the container sees": (
        ["0::/../other"],
        [("/", "unified", "cgroup2 cgroup2 rw")],
        ["unified"],
    ),
    "both versions at once": (
        ["4:memory:/a", "0::/b"],
        [
            ("/", "memory", "cgroup cgroup rw,memory"),
            ("/", "unified", "cgroup2 cgroup2 rw"),
        ],
        ["memory/a", "memory", "unified/b", "unified"],
    ),
    "a folder with a space and a colon": (
        ["0::/a:b"],
        [("/", "my\\040groups", "cgroup2 cgroup2 rw")],
        ["my groups/a:b", "my groups"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_levels_count(layout, tmp_path, monkeypatch):
    memberships, mounts, expected = LAYOUTS[layout]
    groups_are(monkeypatch, tmp_path, memberships, mounts)
    assert groups_of("memory") == [tmp_path / one for one in expected]


def test_a_controller_of_version_1_has_groups_of_its_own(tmp_path, monkeypatch):
    memberships, mounts, _ = LAYOUTS["a job of SLURM, version 1"]
    groups_are(monkeypatch, tmp_path, memberships, mounts)
    assert groups_of("cpu") == [tmp_path / "cpu"]


def test_there_are_none_without_linux(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "PROC", Path(tmp_path, "nothing"))
    assert groups_of("memory") == []

"""Processors that may be used: bound ones, and limits of time in nested groups."""

import os

import pytest

from tests.transfer.machine.control_groups import group, groups_are
from transfer.machine.processors import processors, thread_limit


@pytest.fixture(autouse=True)
def sixteen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_process_may_be_bound_to_some(tmp_path, monkeypatch):
    groups_are(monkeypatch, tmp_path, [], [])
    assert processors() == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert processors() == 2


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        ("max 100000", "max 100000", 16),
        ("max 100000", "300000 100000", 3),  # the group above counts
        ("150000 100000", "800000 100000", 2),  # one and a half keep two busy
        ("3200000 100000", "max 100000", 16),
        ("1000 100000", "max 100000", 1),
    ],
)
def test_the_least_limit_of_time_counts(own, above, expected, tmp_path, monkeypatch):
    groups_are(monkeypatch, tmp_path, ["0::/a/b"], [("/", "cg", "cgroup2 cgroup2 rw")])
    group(tmp_path / "cg")
    group(tmp_path / "cg" / "a", cpu_max=above)
    group(tmp_path / "cg" / "a" / "b", cpu_max=own)
    assert processors() == expected


@pytest.mark.parametrize(("quota", "expected"), [(250_000, 3), (-1, 16)])
def test_version_1_has_other_files(quota, expected, tmp_path, monkeypatch):
    mounts = [("/", "cpu", "cgroup cgroup rw,cpu,cpuacct")]
    groups_are(monkeypatch, tmp_path, ["3:cpu,cpuacct:/job"], mounts)
    group(tmp_path / "cpu" / "job", cpu_cfs_quota_us=quota, cpu_cfs_period_us=100_000)
    assert processors() == expected


def test_threads_are_limited_where_libraries_would_take_more(tmp_path, monkeypatch):
    groups_are(monkeypatch, tmp_path, ["0::/a"], [("/", "cg", "cgroup2 cgroup2 rw")])
    group(tmp_path / "cg" / "a", cpu_max="max 100000")
    assert thread_limit() is None
    group(tmp_path / "cg" / "a", cpu_max="250000 100000")
    assert thread_limit() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert thread_limit() is None  # they see themselves what they are bound to
    for told, expected in (("5", 5), ("0", 1), ("2,1", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert thread_limit() == expected

"""How many processors this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from transfer.machine.control_groups import groups_of


def processors() -> int:
    """Processors to share work among: those it is bound to, or fewer where its time is limited.

    Batch systems bind a process to some processors (`taskset`, SLURM); containers and systemd
    limit its time, `docker run --cpus 2` to that of two.
    """
    return max(1, min([_bound(), *map(math.ceil, _quotas())]))


def thread_limit() -> int | None:
    """How many threads a library may compute with, where it would take more by itself, else None.

    Workers are told their share of the processors in OMP_NUM_THREADS, whoever starts them. Limits
    of time are seen by no library: in a container with the time of two processors of 64 it would
    start 64 threads, which then stand still together.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal():
        return max(1, int(told))
    number = processors()
    return number if number < _bound() else None


def _bound() -> int:
    """Processors that this process is bound to."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows


def _quotas() -> Iterator[float]:
    """Limits of time, as a number of processors."""
    for group in groups_of("cpu"):
        try:
            quota, period = _quota(group)
        except (OSError, ValueError):  # no limit: no such file, or "max"
            continue
        if quota > 0 and period > 0:  # -1 is no limit, too
            yield quota / period


def _quota(group: Path) -> tuple[int, int]:
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
    else:
        quota = (group / "cpu.cfs_quota_us").read_text(encoding="utf-8")
        period = (group / "cpu.cfs_period_us").read_text(encoding="utf-8")
    return int(quota), int(period)

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
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:  # macOS and Windows
        bound = os.cpu_count() or 1
    return max(1, min([bound, *map(math.ceil, _quotas())]))


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

"""Memory: what there is, and bytes in words."""

from pathlib import Path

import psutil

CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "total_cache",
    ),
)
"""Where Linux says how much memory a container may have and has, and the line of memory.stat with
the files it has cached, which are given up when asked for; version 2 and 1."""


def available_memory() -> int:
    """Bytes that can be had without swapping; in a container, of its share."""
    free = [psutil.virtual_memory().available]
    for limit, used, cached in CGROUP_LIMITS:
        try:
            lines = Path(used).with_name("memory.stat").read_text(encoding="utf-8").splitlines()
            files = int(dict(line.split() for line in lines)[cached])
            free.append(
                int(Path(limit).read_text(encoding="utf-8"))
                - int(Path(used).read_text(encoding="utf-8"))
                + files
            )
        except (OSError, ValueError, KeyError):  # no such container, or "max": no limit
            continue
    return max(0, min(free))


def in_words(num_bytes: float) -> str:
    """Bytes with a unit: `2.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:,.0f} {unit}" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:,.1f} TiB"

"""Memory: what there is, and bytes in words."""

from pathlib import Path

import psutil

from transfer.machine.control_groups import groups_of

_LIMITS = (
    ("memory.max", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
"""Files in which a control group says how much memory it may have and has, and what stands before
the names in its memory.stat; of version 2 and 1."""


def available_memory() -> int:
    """Bytes that can be had without swapping; in a container, a job or a service, of its share."""
    free = [psutil.virtual_memory().available]
    for group in groups_of("memory"):
        for limit, used, prefix in _LIMITS:
            try:
                room = int((group / limit).read_text(encoding="utf-8")) - int(
                    (group / used).read_text(encoding="utf-8")
                )
                free.append(room + _cached(group, prefix))
            except (OSError, ValueError, KeyError):  # another version, or "max": no limit
                continue
    return max(0, min(free))


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


def _cached(group: Path, prefix: str) -> int:
    """Bytes of files that the system holds for a group, and gives up when asked for memory."""
    stat = dict(
        line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines()
    )
    return sum(int(stat[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))


def in_words(num_bytes: float) -> str:
    """Bytes with a unit: `2.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:,.0f} {unit}" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:,.1f} TiB"

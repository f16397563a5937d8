"""Disk and memory: what a run needs and what there is."""

import shutil
from pathlib import Path

import psutil

from cache import FeatureWriter
from transfer.errors import InputError

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
            lines = Path(used).with_name("memory.stat").read_text().splitlines()
            files = int(dict(line.split() for line in lines)[cached])
            free.append(int(Path(limit).read_text()) - int(Path(used).read_text()) + files)
        except (OSError, ValueError, KeyError):  # no such container, or "max": no limit
            continue
    return max(0, min(free))


def check_room(writer: FeatureWriter) -> str:
    """Compares what an extraction needs with what there is, before it starts.

    Returns:
        The arithmetic, in one line.

    Raises:
        InputError: If disk or memory cannot hold it; says the arithmetic.
    """
    total, rows = writer.num_bytes, len(writer.ids)
    # All parts are there until they are sealed, that is, copied into one file.
    written = total - writer.num_missing * writer.row_bytes
    needed = 2 * total - written
    free = shutil.disk_usage(writer.path.parent).free
    values = writer.values_per_row
    size = f"{rows:,} images x {values:,} x {writer.spec.dtype} = {in_words(total)}"
    # One part is filled while the one before it is written.
    rows_held, memory = 2 * min(rows, writer.rows_per_part), available_memory()
    held = rows_held * writer.row_bytes
    arithmetic = (
        f"{size}; {in_words(needed)} of disk until sealed, {in_words(free)} free; "
        f"{in_words(held)} of memory, {in_words(memory)} free"
    )
    if needed > free:
        raise InputError(
            f"features need more disk than there is: {arithmetic}; make room, or take fewer cuts, "
            "--pooling avg, or --storage float16"
        )
    if held > memory:
        raise InputError(
            f"features need more memory than there is: {rows_held:,} rows x {values:,} are held at "
            f"a time: {arithmetic}; take fewer cuts, or --pooling avg"
        )
    return arithmetic


def in_words(num_bytes: float) -> str:
    """Bytes with a unit: `2.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:,.0f} {unit}" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:,.1f} TiB"

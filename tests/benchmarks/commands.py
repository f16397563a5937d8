"""Commands as a user types them, with their time and memory."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_BETWEEN_LOOKS = 0.1
"""Seconds."""


def run_stage(stage: str, *options: str, log: Path = Path(os.devnull)) -> tuple[float, float]:
    """Runs `transfer <stage>` in a process of its own.

    Args:
        stage: Its name.
        options: Its flags.
        log: Where its standard output goes.

    Returns:
        Seconds from start to end, and the peak of its memory in GiB.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, "-m", "pipelines.cli", stage, *options]
    started = time.monotonic()
    with log.open("w") as file, ThreadPoolExecutor(1) as watcher:
        child = subprocess.Popen(command, stdout=file)
        most = watcher.submit(_most_memory, child)
        status = child.wait()
        seconds = time.monotonic() - started
    if status:
        raise RuntimeError(f"transfer {stage} ended with {status}; see {log}")
    return seconds, most.result()


def _most_memory(child: subprocess.Popen) -> float:
    """GiB, looked up until it ends; to `wait4` it begins with what this process has, and may stay.

    The process itself counts, not those that it starts.
    """
    most, status = 0, Path(f"/proc/{child.pid}/status")
    while child.returncode is None:
        with suppress(OSError):  # it has just ended
            found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
            most = max(most, int(found[1])) if found else most
        time.sleep(_BETWEEN_LOOKS)
    return most / 2**20

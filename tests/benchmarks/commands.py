"""Commands as a user types them, with their time and memory."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from transfer.machine.peak_memory import peak_memory

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
    """GiB, looked up until it ends; the process itself counts, not those that it starts."""
    most, process = 0, psutil.Process(child.pid)
    while child.returncode is None:
        with suppress(OSError, psutil.Error):  # it has just ended
            most = max(most, peak_memory(process))
        time.sleep(_BETWEEN_LOOKS)
    return most / 2**30

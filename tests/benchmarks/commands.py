"""Commands as a user types them, with their time and memory."""

import os
import subprocess
import sys
import time
from pathlib import Path


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
    with log.open("w") as file:
        child = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"transfer {stage} ended with {child.returncode}; see {log}")
    return seconds, usage.ru_maxrss / 2**20

"""How quick a model is on this machine, and how much memory it takes, in a process of its own.

Run as `python -m transfer.exporting.timing MODEL HEIGHT WIDTH BATCH SECONDS`; prints JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from transfer.errors import InputError
from transfer.exporting.apart import environment
from transfer.exporting.runtimes import open_model
from transfer.machine.peak_memory import peak_memory

WARM_UP = 3
"""Predictions before any is timed: the first ones compile and allocate."""
LEAST_RUNS = 5
"""Predictions that are timed, also where they take longer than was asked for."""


@dataclass(frozen=True)
class Timing:
    """What was measured of one model.

    Attributes:
        median_ms: Milliseconds from one image to its probabilities.
        p90_ms: Milliseconds that nine of ten of them stay below.
        images_per_second: In batches.
        memory_bytes: The most that the process had in memory, with its runtime.
        start_seconds: Until the model was loaded and had seen an image, with the runtime's import.
    """

    median_ms: float
    p90_ms: float
    images_per_second: float
    memory_bytes: int
    start_seconds: float


def time_model(path: Path, size: tuple[int, int], batch: int, seconds: float) -> Timing:
    """Times a model in a fresh process, which imports nothing but its runtime.

    Args:
        path: As `open_model` takes it.
        size: `(height, width)` in pixels of the images.
        batch: Images at a time, for `images_per_second`.
        seconds: How long latency, and how long batches, are measured.

    Raises:
        InputError: If it cannot be opened.
    """
    module, words = "transfer.exporting.timing", (path, *size, batch, seconds)
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, env=environment())
    lines = done.stdout.decode().splitlines()
    if done.returncode:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise InputError(said[-1] if said else f"{path} ended with status {done.returncode}")
    return Timing(**json.loads(lines[-1]))


def _measure(path: Path, size: tuple[int, int], batch: int, seconds: float) -> Timing:
    process = psutil.Process()
    model = open_model(path)
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
    model.predict(images[:1])
    start = time.time() - process.create_time()
    alone = _seconds_each(lambda: model.predict(images[:1]), seconds)
    together = _seconds_each(lambda: model.predict(images), seconds)
    return Timing(
        median_ms=1e3 * float(np.median(alone)),
        p90_ms=1e3 * float(np.quantile(alone, 0.9)),
        images_per_second=batch / float(np.median(together)),
        memory_bytes=peak_memory(process),
        start_seconds=start,
    )


def _seconds_each(function: Callable[[], object], seconds: float) -> list[float]:
    for _ in range(WARM_UP):
        function()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < LEAST_RUNS:
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return taken


if __name__ == "__main__":
    file, height, width, count, duration = sys.argv[1:]
    try:
        found = _measure(Path(file), (int(height), int(width)), int(count), float(duration))
    except InputError as error:
        sys.exit(str(error))
    print(json.dumps(asdict(found)))

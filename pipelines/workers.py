"""Several processes, here or on other machines, extract the parts of one entry side by side."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from cache import CacheError, FeatureSpec, FeatureWriter
from pipelines.extractor import Extractor
from pipelines.parallel import in_parallel
from pipelines.progress import estimate, progress
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.images import ImageSet

ATTEMPTS = 3
"""Times that the parts of workers that died are given to others."""
_SECONDS_BETWEEN_LOOKS = 0.5


def run_side_by_side(
    setup: Setup, spec: FeatureSpec, images: ImageSet, writer: FeatureWriter
) -> dict[str, Any]:
    """Has the parts that need the backbone written by `setup.jobs` processes.

    The parts are files in the store, which all processes reach by the same path. Where workers die,
    what they left is given out again; what is still left then, the caller finds missing.

    Args:
        setup: Images, backbone, and where results go.
        spec: The setup's own.
        images: All of them.
        writer: Says which parts are missing.

    Returns:
        Facts about the engine and its speed; empty if there was nothing to run.

    Raises:
        InputError: If an image cannot be decoded, an option is wrong, or a package is missing.
        CacheError: If a feature cannot be stored, or the disk is full.
    """
    rows = writer.rows_to_run
    starts = np.unique(rows - rows % writer.rows_per_part)
    if not len(starts):
        return {}
    parts = {part.start: part for part in writer.parts}
    sequential = not isinstance(images.source, np.ndarray) and images.source.sequential
    began, facts = time.monotonic(), dict[str, Any]()
    for _ in range(ATTEMPTS):
        # An archive that is only read forward is read by each worker once.
        count = min(setup.jobs, len(starts)) if sequential else len(starts)
        pieces = np.array_split(starts, count)
        tasks = [(setup, spec, tuple(piece.tolist())) for piece in pieces]
        workers = f"{setup.jobs} {setup.parallel} workers"
        print(f"features: {len(starts)} parts for {workers}", flush=True)
        died = None
        with _watched([parts[start] for start in starts.tolist()]):
            try:
                done = in_parallel(_extract_parts, tasks, setup.jobs, setup.parallel)
                facts = next((about for about in done if about), facts)
            except (InputError, CacheError):  # of a worker; ray wraps them in a class of its own
                raise
            except Exception as error:
                # Each backend has classes of its own for workers that died.
                if type(error).__module__.split(".")[0] not in ("joblib", "distributed", "ray"):
                    raise
                died = error
        starts = np.array([start for start in starts.tolist() if not parts[start].path.exists()])
        if died is None:
            break
        reason = f"{type(died).__name__}: {' '.join(str(died).split())[:200]}"
        print(f"features: a worker died ({reason}); {len(starts)} parts are left", flush=True)
        if not len(starts):
            break
    facts.pop("images_per_second", None)  # one worker's
    speed = len(rows) / (time.monotonic() - began)
    return facts | {"images_per_second": round(speed, 1), "workers": setup.jobs}


def _extract_parts(task: tuple[Setup, FeatureSpec, tuple[int, ...]]) -> dict[str, Any]:
    """Writes some parts, in a worker; returns facts about its engine."""
    setup, spec, starts = task
    with _extractor(setup, spec).writer(starts) as writer:
        return _extractor(setup, spec).run(writer)


@lru_cache(maxsize=1)
def _extractor(setup: Setup, spec: FeatureSpec) -> Extractor:
    """This worker's own; it stays, with its engine, for the tasks to come."""
    return Extractor(setup, spec)


@contextmanager
def _watched(parts: Sequence) -> Iterator[None]:
    """Shows how far the workers are, by the parts that are there."""
    over = threading.Event()
    total = sum(part.stop - part.start for part in parts)

    def look() -> None:
        estimated = estimate("features", total)
        with progress("features", total) as update:
            while not over.wait(_SECONDS_BETWEEN_LOOKS):
                done = sum(part.stop - part.start for part in parts if part.path.exists())
                update(done)
                if done:
                    estimated(done)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()

"""Several processes, here or on other machines, extract the parts of one entry side by side."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np

from cache import CacheError, FeatureSpec, FeatureWriter
from cache.parts import Part
from pipelines.bad_images import BadImagesError, refusal
from pipelines.counting import counted
from pipelines.extracting.extractor import Extractor
from pipelines.extracting.listing import list_images
from pipelines.machine.parallel import cluster, in_parallel
from pipelines.progress import estimate, progress
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.images.imageset import ImageSet

ATTEMPTS = 3
"""Times that the parts of workers that died are given to others."""
_SECONDS_BETWEEN_LOOKS = 0.5
_ONE_AT_A_TIME = threading.Lock()
"""A dask worker may have several threads; one engine keeps all processors busy."""


def run_side_by_side(
    setup: Setup, spec: FeatureSpec, images: ImageSet, writer: FeatureWriter
) -> dict[str, Any]:
    """Has the parts that need the backbone written by several processes.

    The parts are files in the store, which all processes reach by the same path. Where workers die,
    what they left is given out again; what is still left then, the caller finds missing.

    Args:
        setup: Images, backbone, and where results go.
        spec: The setup's own.
        images: All of them.
        writer: Says which parts are missing.

    Returns:
        Facts about the engine and its speed; empty if nothing was run.

    Raises:
        InputError: If an image cannot be decoded, an option is wrong, a package is missing, or a
            worker sees other images or weights.
        CacheError: If a feature cannot be stored, or the disk is full.
    """
    rows = writer.rows_to_run
    starts, counts = np.unique(rows - rows % writer.rows_per_part, return_counts=True)
    num_rows = dict(zip(starts.tolist(), counts.tolist(), strict=True))
    parts = {part.start: part for part in writer.missing if part.start in num_rows}
    for part in parts.values():
        part.path.unlink(missing_ok=True)  # a damaged one would be taken for done
    setup = setup.with_absolute_paths()
    began, facts = time.monotonic(), dict[str, Any]()
    with cluster(setup.parallel, setup.jobs):
        for _ in range(ATTEMPTS):
            left = [part for part in parts.values() if not part.path.exists()]
            if not left:
                break
            print(
                f"features: {counted(len(left), 'part')} side by side ({setup.parallel})",
                flush=True,
            )
            with _watched(left):
                facts |= _give_out(setup, spec, images, left)
    absent = sum(not part.path.exists() for part in parts.values())
    if absent:
        where = writer.path.parent
        print(
            f"features: {counted(absent, 'part')} did not come to {where}, made here instead",
            flush=True,
        )
    written = sum(num_rows[start] for start, part in parts.items() if part.path.exists())
    if not written:
        return {}
    facts |= {"images_per_second": round(written / (time.monotonic() - began), 1)}
    return facts | {"jobs": setup.jobs, "parallel": setup.parallel}


def _give_out(
    setup: Setup, spec: FeatureSpec, images: ImageSet, parts: Sequence[Part]
) -> dict[str, Any]:
    """Has parts written until all are there or a worker dies; returns facts about an engine."""
    tasks = _tasks(setup, spec, images, [part.start for part in parts])
    try:
        done = in_parallel(_extract_parts, tasks, setup.jobs, setup.parallel)
    except BadImagesError:
        # Others may have seen more of them.
        raise refusal(images, 0, (), setup.run_folder) from None
    except (InputError, CacheError):  # of a worker; ray gives them a class of its own besides
        raise
    except Exception as error:
        # Each backend has classes of its own for workers that died.
        if type(error).__module__.split(".")[0] not in ("joblib", "distributed", "ray"):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        left = sum(not part.path.exists() for part in parts)
        print(f"features: a worker died ({reason}); {counted(left, 'part')} left", flush=True)
        return {}
    return next((about for about in done if about), {})


def _tasks(
    setup: Setup, spec: FeatureSpec, images: ImageSet, starts: Sequence[int]
) -> list[tuple[Setup, FeatureSpec, tuple[int, ...]]]:
    sequential = not isinstance(images.source, np.ndarray) and images.source.sequential
    # In an archive that is only read forward every task costs a pass.
    count = min(setup.jobs, len(starts)) if sequential else len(starts)
    return [(setup, spec, tuple(piece.tolist())) for piece in np.array_split(starts, count)]


def _extract_parts(task: tuple[Setup, FeatureSpec, tuple[int, ...]]) -> dict[str, Any]:
    """Writes some parts, in a worker; returns facts about its engine."""
    setup, spec, starts = task
    with _ONE_AT_A_TIME:
        extractor = _extractor(setup, spec)
        with extractor.writer(starts) as writer:
            return extractor.run(writer)


@lru_cache(maxsize=1)
def _extractor(setup: Setup, spec: FeatureSpec) -> Extractor:
    """This worker's own; it stays, with its engine, for the tasks to come."""
    seen = setup.spec()
    if seen != spec:
        differences = seen.differences_in_words(spec).replace("in the cache", "expected")
        raise InputError(
            f"the worker on {socket.gethostname()} does not see what the command sees "
            f"({differences}); expected the same images, weights and packages on all machines"
        )
    return Extractor(setup, spec, list_images(setup), show=lambda _: nullcontext())


@contextmanager
def _watched(parts: Sequence[Part]) -> Iterator[None]:
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

"""Work side by side through joblib: processes of this machine, or those of a cluster."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

from transfer.errors import InputError

Backend = Literal["loky", "dask", "ray"]
"""Where work runs: processes of this machine; a dask cluster, the one that
DASK_SCHEDULER_ADDRESS names or one of this machine; a ray cluster likewise, by RAY_ADDRESS."""


def in_parallel(function: Callable, tasks: Sequence[Any], jobs: int, backend: Backend) -> list[Any]:
    """Runs a function of each task, side by side.

    Args:
        function: Can be pickled, and so can what it takes and returns.
        tasks: One call each.
        jobs: Calls at a time.
        backend: Where they run.

    Returns:
        Results in the order of the tasks.

    Raises:
        InputError: If the package of the backend is not installed.
    """
    from joblib import Parallel, delayed, parallel_config

    with _started(backend, jobs), parallel_config(backend, n_jobs=jobs):
        return Parallel()(delayed(function)(task) for task in tasks)


@contextmanager
def _started(backend: Backend, jobs: int) -> Iterator[None]:
    _check_installed(backend)
    if backend == "dask":
        import dask
        from distributed import Client

        address = dask.config.get("scheduler-address", None)
        # By default the first cluster takes port 8787, and others warn that it is taken.
        here = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
        with Client(address) if address else Client(**here, silence_logs=logging.ERROR):
            yield
    elif backend == "ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        with ray.init(log_to_driver=False, logging_level=logging.ERROR):
            yield
    else:
        yield


def _check_installed(backend: Backend) -> None:
    try:
        for name in {"dask": ("dask", "distributed"), "ray": ("ray",)}.get(backend, ()):
            import_module(name)
    except ImportError as error:
        package = {"dask": "distributed"}.get(backend, backend)
        raise InputError(
            f"--parallel {backend} expects the package {package}, found none ({error}); "
            f"pip install {package}, or use --parallel loky"
        ) from None

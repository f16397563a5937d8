"""Work side by side through joblib: processes of this machine, or those of a cluster."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Literal

from pipelines.terminal import keep_streams_lasting
from transfer.errors import InputError
from transfer.machine.processors import processors

Backend = Literal["loky", "dask", "ray"]
"""Where work runs: processes of this machine; a dask cluster, the one that
DASK_SCHEDULER_ADDRESS names or one of this machine; a ray cluster likewise, by RAY_ADDRESS."""
PATIENCE = 10
"""Seconds in which a dask cluster must have a worker."""


def in_parallel(function: Callable, tasks: Sequence[Any], jobs: int, backend: Backend) -> list[Any]:
    """Runs a function of each task, side by side.

    Args:
        function: Can be pickled, and so can what it takes and returns.
        tasks: One call each.
        jobs: Calls at a time; a dask cluster that is there already uses all its workers.
        backend: Where they run.

    Returns:
        Results in the order of the tasks.

    Raises:
        InputError: If the package of the backend is not installed, or its cluster not there.
    """
    from joblib import Parallel, delayed, parallel_config

    with cluster(backend, jobs), parallel_config(backend, n_jobs=jobs):
        return Parallel()(delayed(_work)(function, task) for task in tasks)


def _work(function: Callable, task: Any) -> Any:
    keep_streams_lasting()
    return function(task)


@contextmanager
def cluster(backend: Backend, jobs: int) -> Iterator[None]:
    """Connects to a cluster or starts one here, for all calls of `in_parallel` in the block.

    One that this process is connected to already, such as a notebook's, is used as it is.

    Raises:
        InputError: As `in_parallel`.
    """
    _check_installed(backend)
    if _is_connected(backend):
        yield
        return
    with _dask(jobs) if backend == "dask" else _ray(jobs):
        yield


def _is_connected(backend: Backend) -> bool:
    if backend == "dask":
        from distributed import default_client

        try:
            default_client()
        except ValueError:
            return False
        return True
    if backend == "ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        return ray.is_initialized()
    return True  # loky starts its processes by itself


@contextmanager
def _dask(jobs: int) -> Iterator[None]:
    import dask
    from distributed import Client

    address = dask.config.get("scheduler-address", None)
    # By default the first cluster takes port 8787, and others warn that it is taken.
    here = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with ExitStack() as opened:
        try:
            if address:
                client = opened.enter_context(Client(address))
                client.wait_for_workers(1, timeout=PATIENCE)
            else:
                opened.enter_context(_threads_for(jobs))
                opened.enter_context(Client(**here, silence_logs=logging.ERROR))
        except OSError as error:  # a TimeoutError is one
            raise _no_cluster("dask", address, error) from None
        yield


@contextmanager
def _ray(jobs: int) -> Iterator[None]:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    with ExitStack() as opened:
        if not address:
            opened.enter_context(_threads_for(jobs))
        try:
            opened.enter_context(ray.init(log_to_driver=False, logging_level=logging.ERROR))
        except (OSError, RuntimeError, ValueError) as error:
            raise _no_cluster("ray", address, error) from None
        yield


@contextmanager
def _threads_for(jobs: int) -> Iterator[None]:
    """Gives workers that start here their share of the processors; dask and ray give each one."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max(1, processors() // jobs))
    try:
        yield
    finally:
        del os.environ[name]


def _no_cluster(backend: str, address: str | None, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    where = f"at {address}" if address else "of this machine"
    return InputError(
        f"--parallel {backend} expects a cluster {where} with at least one worker, "
        f"found none ({reason}); start it, or use --parallel loky"
    )


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

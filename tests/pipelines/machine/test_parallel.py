"""Work side by side: the same results in the same order, wherever it runs."""

import contextlib
import importlib.util
import os
import socket
import sys
import time

import pytest

from pipelines.machine.parallel import cluster, in_parallel
from pipelines.recipes import load_recipe
from transfer.errors import InputError


def slowest_first(number):
    time.sleep(0.05 * (4 - number))
    return number, os.getpid()


def refuse(number):
    raise InputError(f"expected nothing, received {number}")


def need(package):
    raise ImportError(f"no module named {package}")


def installed(backend, package):
    missing = importlib.util.find_spec(package) is None
    return pytest.param(
        backend, marks=pytest.mark.skipif(missing, reason=f"{package} is not installed")
    )


BACKENDS = [installed("loky", "joblib"), installed("dask", "distributed"), installed("ray", "ray")]


class TestOneCluster:
    """On one cluster, for to start one takes seconds; it ends with the last of these tests."""

    @pytest.fixture(scope="class", params=BACKENDS)
    def running(self, request):
        with cluster(request.param, 2):
            yield request.param

    def test_results_come_in_order_from_other_processes(self, running):
        done = list(in_parallel(slowest_first, range(5), 2, running))
        assert [number for number, _ in done] == list(range(5))
        processes = {process for _, process in done}
        assert os.getpid() not in processes
        assert len(processes) <= 2

    def test_a_mistake_in_a_worker_is_one_here(self, running):
        with pytest.raises(InputError) as refused:
            list(in_parallel(refuse, [7, 7], 2, running))
        assert str(refused.value) == "expected nothing, received 7"


@pytest.mark.parametrize("backend", BACKENDS[1:2])
def test_a_second_cluster_of_this_machine_is_nobody_s_business(backend, recwarn):
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # else it is taken by somebody else
            taken.bind(("127.0.0.1", 8787))  # where dask's first cluster shows what it does
            taken.listen()
        assert len(list(in_parallel(slowest_first, [4], 1, backend))) == 1
    assert not [warning.message for warning in recwarn if "8787" in str(warning.message)]


def threads(number):
    return os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize("backend", BACKENDS[1:])  # loky shares by itself
def test_workers_share_the_processors(backend, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("pipelines.machine.parallel.processors", lambda: 6)
    assert list(in_parallel(threads, [1, 2], 2, backend)) == ["3", "3"]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch):
    pytest.importorskip("distributed")
    import dask

    with socket.socket() as taken, dask.config.set({"distributed.comm.timeouts.connect": 0.5}):
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setitem(dask.config.config, "scheduler-address", f"tcp://127.0.0.1:{port}")
        with pytest.raises(InputError, match=f"a cluster at tcp://127.0.0.1:{port} .* found none"):
            list(in_parallel(slowest_first, [1], 2, "dask"))


def test_a_cluster_without_workers_is_one_line(monkeypatch):
    distributed = pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr("pipelines.machine.parallel.PATIENCE", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.setitem(dask.config.config, "scheduler-address", cluster.scheduler_address)
        with pytest.raises(InputError, match="at least one worker, found none") as refused:
            list(in_parallel(slowest_first, [1], 2, "dask"))
    assert "\n" not in str(refused.value)


def test_no_tasks_no_results():
    assert list(in_parallel(slowest_first, [], 2, "loky")) == []


@pytest.mark.parametrize(
    ("backend", "missing", "package"),
    [
        ("dask", "dask", "distributed"),
        ("dask", "distributed", "distributed"),
        ("ray", "ray", "ray"),
    ],
)
def test_a_package_that_is_not_there_is_named(backend, missing, package, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError) as refused:
        list(in_parallel(load_recipe, ["demo"], 2, backend))
    assert f"--parallel {backend} expects the package {package}" in str(refused.value)
    assert f"pip install {package}" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_package_that_only_the_work_lacks_is_not_the_cluster_s(backend):
    with pytest.raises(ImportError, match="no module named rare"):
        list(in_parallel(need, ["rare"], 2, backend))

"""Work side by side: the same results in the same order, wherever it runs."""

import contextlib
import importlib.util
import os
import socket
import sys
import time

import pytest

from pipelines.parallel import in_parallel
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_come_in_order_from_other_processes(backend):
    done = list(in_parallel(slowest_first, range(5), 2, backend))
    assert [number for number, _ in done] == list(range(5))
    processes = {process for _, process in done}
    assert os.getpid() not in processes
    assert len(processes) <= 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mistake_in_a_worker_is_one_here(backend):
    with pytest.raises(InputError) as refused:
        list(in_parallel(refuse, [7, 7], 2, backend))
    assert str(refused.value) == "expected nothing, received 7"


@pytest.mark.parametrize("backend", BACKENDS[1:2])
def test_a_second_cluster_of_this_machine_is_nobody_s_business(backend, recwarn):
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # else it is taken by somebody else
            taken.bind(("127.0.0.1", 8787))  # where dask's first cluster shows what it does
            taken.listen()
        assert len(list(in_parallel(slowest_first, [4], 1, backend))) == 1
    assert not [warning.message for warning in recwarn if "8787" in str(warning.message)]


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

"""Workers that are killed: others, or the command itself, do their work, to the same bytes."""

import contextlib
import os
import signal
from dataclasses import replace
from unittest.mock import patch

import pytest

import cache.writer
from pipelines.extracting import workers
from pipelines.extracting.extraction import make_features
from tests.extractions import stub_for_the_backbone
from tests.pipelines.extracting.test_workers import in_small_parts, setup, small_parts
from tests.pipelines.machine.test_parallel import BACKENDS

__all__ = ["setup", "small_parts"]  # fixtures


@pytest.fixture(scope="module", autouse=True)
def stub():
    with stub_for_the_backbone():
        yield


@pytest.fixture
def alone(setup, small_parts):
    """The bytes of a file that one process made."""
    return make_features(setup, setup.spec()).read_bytes()


def and_one_dies(task):
    """The first worker that has some rows of a part kills itself."""
    write, marker = cache.writer.FeatureWriter.write, task[0].artifacts / "one died"

    def write_or_die(self, rows, *more):
        write(self, rows, *more)
        with contextlib.suppress(FileExistsError):
            marker.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)

    with stub_for_the_backbone(), patch.object(cache.writer.FeatureWriter, "write", write_or_die):
        return in_small_parts(task)


def and_all_die(task):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_of_two_workers_is_killed_and_not_a_bit_differs(
    backend, setup, alone, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("pipelines.extracting.workers._extract_parts", and_one_dies)
    setup = replace(setup, artifacts=tmp_path, jobs=2, parallel=backend)
    path = make_features(setup, setup.spec())
    assert (tmp_path / "one died").exists()
    assert path.read_bytes() == alone
    assert [one.name for one in path.parent.iterdir() if one.name != ".lock"] == [
        "about.json",
        "features.h5",
    ]
    said = capsys.readouterr().out
    assert f"features: 5 parts side by side ({backend})" in said
    if backend == "loky":  # a dask cluster goes on by itself
        assert "a worker died" in said


def test_where_all_workers_die_the_work_is_done_here(setup, alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pipelines.extracting.workers._extract_parts", and_all_die)
    setup = replace(setup, artifacts=tmp_path, jobs=2)
    assert make_features(setup, setup.spec()).read_bytes() == alone
    assert capsys.readouterr().out.count("5 parts left") == workers.ATTEMPTS

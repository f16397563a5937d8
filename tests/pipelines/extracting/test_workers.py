"""Several processes on one entry: the bytes of one process."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cache.writer
from pipelines.extracting import workers
from pipelines.extracting.extraction import make_features
from pipelines.setup import Setup
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.images.sources import DataOptions

ROWS, ROWS_PER_PART = 300, 64
extract_parts = workers._extract_parts


def in_small_parts(task):
    """What a worker does, in parts that suit a test; it imports this module to find it."""
    cache.writer.rows_per_part = lambda row_bytes: ROWS_PER_PART
    return extract_parts(task)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    rng = np.random.default_rng(0)
    for number in range(ROWS):
        path = folder / "photos" / "ab"[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
    return Setup(
        DataOptions(str(folder / "photos")),
        BackboneOptions(
            "MobileNetV2", "none", alpha=0.35, image_size=32, cut=("block_2_add", "block_5_add")
        ),
        artifacts=folder / "alone",
        extract_batch_size=16,
    )


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("cache.writer.rows_per_part", lambda row_bytes: ROWS_PER_PART)
    monkeypatch.setattr("pipelines.extracting.workers._extract_parts", in_small_parts)


@pytest.fixture(scope="module")
def alone(setup):
    """The bytes of a file that one process made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cache.writer.rows_per_part", lambda row_bytes: ROWS_PER_PART)
        return make_features(setup, setup.spec()).read_bytes()


def test_openvino_comes_to_the_same_bytes_in_one_process_and_in_two(setup, tmp_path):
    pytest.importorskip("openvino")
    files = []
    for jobs in (1, 2):  # with two, each has one processor here
        one = replace(setup, engine="openvino", artifacts=tmp_path / str(jobs), jobs=jobs)
        files.append(make_features(one, one.spec()).read_bytes())
    assert files[0] == files[1]


def test_parts_that_are_there_are_not_made_again(setup, alone, tmp_path, monkeypatch, capsys):
    setup = replace(setup, artifacts=tmp_path)
    seen = []

    def stop(self, rows, *more, write=cache.writer.FeatureWriter.write):
        seen.extend(rows)
        if len(seen) > 2 * ROWS_PER_PART:
            raise KeyboardInterrupt
        write(self, rows, *more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache.writer.FeatureWriter, "write", stop)
        make_features(setup, setup.spec())
    setup = replace(setup, jobs=2)
    assert make_features(setup, setup.spec()).read_bytes() == alone
    assert "3 parts side by side (loky)" in capsys.readouterr().out


def test_all_bad_images_of_all_workers_are_listed(setup, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(setup.data.data, photos)
    for bad in ("a/010.png", "b/299.png"):  # in the first part and in the last
        (photos / bad).write_bytes(b"no image")
    setup = replace(setup, data=DataOptions(str(photos)), artifacts=tmp_path, jobs=2)
    with pytest.raises(InputError, match="2 files that cannot be decoded") as refused:
        make_features(setup, setup.spec())
    assert "a/010.png" in str(refused.value)
    assert "b/299.png" in str(refused.value)
    skipping = replace(setup, data=replace(setup.data, bad_images="skip"))
    together = make_features(skipping, skipping.spec()).read_bytes()
    single = replace(skipping, artifacts=tmp_path / "alone", jobs=1)
    assert together == make_features(single, single.spec()).read_bytes()


def test_a_worker_that_sees_other_images_is_refused(setup):
    spec = replace(setup.spec(), data="0" * 64)
    workers._extractor.cache_clear()
    with pytest.raises(InputError, match=f"worker on {socket.gethostname()} does not see") as error:
        extract_parts((setup, spec, (0,)))
    assert "data differs: 000000... expected" in str(error.value)


def test_parts_that_go_elsewhere_are_said_and_made_here(
    setup, alone, tmp_path, monkeypatch, capsys
):
    tasks = []
    monkeypatch.setattr("pipelines.extracting.workers._extract_parts", lambda task: {})
    monkeypatch.setattr(
        "pipelines.extracting.workers.in_parallel",
        lambda function, given, *_: [tasks.append(task) or function(task) for task in given],
    )
    monkeypatch.chdir(tmp_path)
    setup = replace(setup, artifacts=Path("here"), jobs=2)
    path = make_features(setup, setup.spec())
    assert path.read_bytes() == alone
    said = capsys.readouterr().out
    assert said.count("5 parts side by side") == workers.ATTEMPTS  # they may only be late
    assert "5 parts did not come to" in said
    assert {task[0].artifacts for task in tasks} == {tmp_path / "here"}  # absolute, for any folder


def test_a_damaged_part_is_given_to_workers_again(setup, alone, tmp_path, monkeypatch, capsys):
    setup = replace(setup, artifacts=tmp_path, jobs=2)
    spec = setup.spec()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipelines.extracting.extraction._run_here", lambda *_: raise_interrupt())
        make_features(setup, spec)
    (damaged,) = tmp_path.glob("features/*/parts/*64.h5")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    capsys.readouterr()
    assert make_features(setup, spec).read_bytes() == alone
    assert "1 part side by side" in capsys.readouterr().out


def raise_interrupt():
    raise KeyboardInterrupt


def test_an_archive_is_read_by_each_worker_once(setup, alone, tmp_path, monkeypatch, capsys):
    import tarfile

    archive = tmp_path / "photos.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(setup.data.data, "photos")
    setup = replace(setup, data=DataOptions(str(archive)), artifacts=tmp_path / "here", jobs=2)
    given = []

    def note(function, tasks, *more):
        given.extend(tasks)
        return [function(task) for task in tasks]

    monkeypatch.setattr("pipelines.extracting.workers.in_parallel", note)
    workers._extractor.cache_clear()
    path = make_features(setup, setup.spec())
    assert [starts for _, _, starts in given] == [(0, 64, 128), (192, 256)]
    single = replace(setup, artifacts=tmp_path / "alone", jobs=1)
    assert path.read_bytes() == make_features(single, single.spec()).read_bytes()

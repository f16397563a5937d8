"""Several processes at once on one entry of the store: one writes, others wait or read."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cache import FeatureFile
from tests.extractions import NUM_ROWS, Extraction, check_finished, reference

PARTS = 29
READER = """
import hashlib, json, sys, time
import numpy as np
from cache import FeatureFile
digests, stop = [], time.monotonic() + float(sys.argv[2])
while not digests or time.monotonic() < stop:
    with FeatureFile(sys.argv[1]) as file:
        values = file.read(np.arange(len(file)))
        digests.append(hashlib.sha256(values.tobytes() + file.labels.tobytes()).hexdigest())
print(json.dumps([len(digests), sorted(set(digests))]))
"""
HOLDER = """
import sys, h5py
with h5py.File(sys.argv[1], "r") as file:
    print(len(file["labels"]), flush=True)
    sys.stdin.read()
"""


def program(text, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        env=os.environ | environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    """What a process said on standard output; it must have ended well and without a complaint."""
    stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stderr) == (0, ""), stderr
    return stdout


def stopped(process):
    """Waits until a process has stopped itself."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def digest_of(path):
    with FeatureFile(path) as file:
        values = file.read(np.arange(len(file)))
        assert values.any(axis=1).all()
        return hashlib.sha256(values.tobytes() + file.labels.tobytes()).hexdigest()


def test_of_two_at_once_one_works_and_one_waits(tmp_path):
    extraction = Extraction(tmp_path, fast=True)
    worker = extraction.start("--stop-at", "writing begins:1")
    stopped(worker)
    waiter = extraction.start()
    assert f"waiting for process {worker.pid} on " in waiter.stdout.readline()
    worker.send_signal(signal.SIGCONT)
    assert "waiting" not in finish(worker)
    assert "1,797 images" in finish(waiter)
    assert extraction.parts_begun == PARTS
    assert ("writing", "begins") not in extraction.events()
    check_finished(extraction)


def test_a_process_killed_with_the_lock_does_not_block_the_next(tmp_path):
    extraction = Extraction(tmp_path, fast=True)
    holder = extraction.start("--stop-at", "writing begins:13")
    stopped(holder)
    waiter = extraction.start()
    assert f"waiting for process {holder.pid} on " in waiter.stdout.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        waiter.wait(1)
    holder.kill()
    assert f"resuming, 768 of {NUM_ROWS:,} rows" in finish(waiter)
    assert holder.wait(60) == -signal.SIGKILL
    holder.communicate()
    check_finished(extraction)
    assert extraction.parts_begun == PARTS + 1  # the thirteenth was begun twice


def test_a_lock_file_left_behind_is_no_obstacle(tmp_path):
    extraction = Extraction(tmp_path, fast=True)
    entry = reference(True).extraction_path(extraction)
    entry.mkdir(parents=True)
    (entry / ".lock").write_text("process 1 on a machine that is gone, with a name that is long")
    done = extraction.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "waiting" not in done.stdout
    check_finished(extraction)
    assert re.fullmatch(r"process \d+ on \S+", (entry / ".lock").read_text())


@pytest.mark.parametrize("how", ["no fcntl", "ENOLCK"])
def test_without_locks_two_at_once_write_one_file(how, tmp_path):
    extraction = Extraction(tmp_path, fast=True)
    at_once = ["--stop-at", "writing begins:1"]  # none is done before the other has begun
    processes = [extraction.start("--no-locks", how, *at_once) for _ in range(2)]
    for process in processes:
        stopped(process)
    for process in processes:
        process.send_signal(signal.SIGCONT)
    for process in processes:
        assert "waiting" not in finish(process)
    assert PARTS < extraction.parts_begun <= 2 * PARTS  # they did meet
    check_finished(extraction)


@pytest.mark.parametrize(
    "event", ["running:1", "writing begins:13", "sealing begins:1", "sealing close:40"]
)
def test_without_locks_a_slow_one_ends_with_the_file_of_a_fast_one(event, tmp_path):
    """The fast one seals, and removes the parts, while the slow one is still writing them."""
    extraction = Extraction(tmp_path, fast=True)
    slow = extraction.start("--no-locks", "ENOLCK", "--stop-at", event)
    stopped(slow)
    finish(extraction.start("--no-locks", "ENOLCK"))
    slow.send_signal(signal.SIGCONT)
    assert "1,797 images" in finish(slow)
    check_finished(extraction)


def test_readers_see_one_file_or_the_other_while_it_is_replaced(tmp_path):
    path = tmp_path / "features.h5"
    original = reference(True).extraction.sealed
    shutil.copy(original, path)
    readers = [program(READER, path, 3) for _ in range(8)]
    replaced = 0
    while any(reader.poll() is None for reader in readers):
        shutil.copy(original, tmp_path / "copy.h5")
        (tmp_path / "copy.h5").replace(path)
        replaced += 1
        time.sleep(0.005)
    reads = [json.loads(finish(reader)) for reader in readers]
    assert replaced > 20
    assert min(count for count, _ in reads) > 1
    assert {tuple(digests) for _, digests in reads} == {(digest_of(original),)}


@pytest.mark.parametrize("locking", ["FALSE", "TRUE"])
def test_locks_of_hdf5_do_not_matter(locking, tmp_path):
    path = shutil.copy(reference(True).extraction.sealed, tmp_path / "features.h5")
    holder = program(HOLDER, path, HDF5_USE_FILE_LOCKING="TRUE")
    assert holder.stdout.readline() == f"{NUM_ROWS}\n"
    count, digests = json.loads(finish(program(READER, path, 0, HDF5_USE_FILE_LOCKING=locking)))
    assert (count, digests) == (1, [digest_of(path)])
    finish(holder)
    extraction = Extraction(tmp_path / "new", fast=True)
    extraction.folder.mkdir()
    environment = {"HDF5_USE_FILE_LOCKING": locking}
    assert "made in" in finish(extraction.start(environment=environment))
    check_finished(extraction)

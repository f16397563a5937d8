"""A disk that is full ends an extraction in one clear line, and nothing is lost by it."""

import os
import resource
import subprocess

import pytest

from tests.extractions import (
    NUM_ROWS,
    ROWS_PER_PART,
    Extraction,
    check_finished,
    reference,
)

# The event at which the disk is full, and how many parts are finished by then.
MOMENTS = {"the first part": ("writing begins:1", 0), "a later part": ("writing begins:13", 12)}
SEAL = ("sealing begins:1", "sealing __setitem__:20", "sealing create_dataset:14")


def refused(done):
    """Checks that an extraction ended as an error that the user can mend; returns its line."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("transfer features: no room to write ")
    assert "bytes are free on this disk" in line
    assert line.endswith("make room and run the same command again")
    return line


def check_kept(extraction, parts):
    """So many parts are on disk and sound, and nothing else is, half-written or not."""
    rows = min(NUM_ROWS, parts * ROWS_PER_PART)
    assert extraction.sealed is None
    assert reference(extraction.fast).sound_rows(extraction) == rows
    files = {path.name for path in extraction.entry.rglob("*") if path.is_file()}
    names = {f"{part * ROWS_PER_PART:010d}.h5" for part in range(parts)}
    assert files == names | {".lock", "about.json"}
    return rows


def check_goes_on(extraction, rows):
    done = extraction.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert (f"resuming, {rows:,} of {NUM_ROWS:,} rows are there" in done.stdout) == (rows > 0)
    check_finished(extraction)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_part_that_cannot_be_written(moment, tmp_path):
    event, parts = MOMENTS[moment]
    extraction = Extraction(tmp_path, fast=True)
    line = refused(extraction.run("--full-at", event))
    assert f"parts/{parts * ROWS_PER_PART:010d}.h5" in line
    check_goes_on(extraction, check_kept(extraction, parts))


def test_a_seal_that_cannot_be_written(tmp_path):
    extraction = Extraction(tmp_path, fast=True)
    for event in SEAL:
        assert "features.h5" in refused(extraction.run("--full-at", event))
        rows = check_kept(extraction, 29)
    check_goes_on(extraction, rows)


def test_a_limit_set_by_the_shell(tmp_path):
    """As `ulimit -f` sets it: parts fit, the sealed file does not."""
    extraction = Extraction(tmp_path, fast=True)
    limits = (2**20, resource.RLIM_INFINITY)
    done = extraction.run(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    assert "features.h5" in refused(done)
    check_goes_on(extraction, check_kept(extraction, 29))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MiB where the extraction keeps its results."""
    place = tmp_path / "artifacts"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk of one's own can be mounted only by root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    ("event", "parts"),
    [("writing begins:13", 12), (SEAL[0], 29), (SEAL[1], 29)],
)
def test_a_disk_without_space(event, parts, tmp_path, small_disk):
    extraction = Extraction(tmp_path, fast=True)
    ballast = small_disk / "ballast"
    line = refused(extraction.run("--full-at", event, "--ballast", ballast))
    assert " (0 bytes are free" in line
    rows = check_kept(extraction, parts)
    ballast.unlink()
    check_goes_on(extraction, rows)


def test_a_disk_that_is_full_from_the_start(tmp_path, small_disk):
    extraction = Extraction(tmp_path, fast=True)
    ballast = small_disk / "ballast"
    done = extraction.run("--full-at", "running:1", "--ballast", ballast)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "make room" in line
    ballast.unlink()
    check_goes_on(extraction, 0)

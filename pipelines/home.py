"""Paths that begin with `~`, wherever an option names one: on the command line or in a recipe."""

import os.path
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

PATHS = ("artifacts", "data", "group", "images", "images_root", "recipe", "runs", "weights")
"""Options that hold paths but may hold other words, too; those that are a `Path` tell by it."""


def at_home(path: str) -> str:
    """The path with a leading `~` or `~user` replaced, as shells do; others stay."""
    # Path.expanduser raises where there is no such user, and ~x.jpg may well be a file.
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111


def with_homes(options: Any) -> Any:
    """A stage's options with every path expanded, those of nested ones as well."""
    changed = {}
    for field in fields(options):
        value = getattr(options, field.name)
        expanded = with_homes(value) if is_dataclass(value) else _expanded(field.name, value)
        if expanded != value:
            changed[field.name] = expanded
    return replace(options, **changed) if changed else options


def _expanded(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_expanded(name, one) for one in value)
    if isinstance(value, Path):
        return Path(at_home(str(value)))
    return at_home(value) if name in PATHS and isinstance(value, str) else value

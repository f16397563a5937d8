"""Names of models side by side: all different, in tables and in the names of pictures."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HEAD, TUNED = "head", "finetuned"
"""The models of a run; others have names of their files."""


def named(own: Mapping[str, Path], others: Iterable[Path]) -> dict[str, Path]:
    """Gives every model a name of its own, for tables and pictures.

    Args:
        own: The run's models by name.
        others: Further ones; those that are there already are left out.

    Returns:
        By name: a file's stem or, where several have the same, as much of the path before it as
        tells them apart: "first/classifier", "second/classifier". A link has its own.
    """
    known = {path.resolve() for path in own.values()}
    new: dict[Path, Path] = {}
    for path in others:
        if (file := path.resolve()) not in known:
            new.setdefault(file, path.parent.resolve() / path.name)
    called = list(new.values())
    return {**own, **{_name(path, called): path for path in called}}


def _name(path: Path, among: Sequence[Path]) -> str:
    def end(path: Path, length: int) -> str:
        return Path(*path.parts[-length:]).as_posix().removesuffix(".keras")

    others = [other for other in among if other != path]
    for length in range(1, len(path.parts)):
        taken = {HEAD, TUNED, *(end(other, length) for other in others)}
        if (name := end(path, length)) not in taken:
            return name
    return path.as_posix()


def picture_names(names: Iterable[str]) -> dict[str, str]:
    """For each model's name one that can be part of a file's name, all different."""
    files: dict[str, str] = {}
    for name in names:
        safe = plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
        number = 1
        while safe.casefold() in {file.casefold() for file in files.values()}:
            number += 1
            safe = f"{plain}-{number}"
        files[name] = safe
    return files

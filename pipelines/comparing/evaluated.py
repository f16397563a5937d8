"""Runs that were evaluated: where they are, what they are, and what their models said."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.evaluating.predictions import Predictions, read_predictions
from pipelines.models import read_finetuned, read_head, tuned_id
from pipelines.recipes import fill
from pipelines.run_names import LATEST
from pipelines.runs import latest, tables_in
from transfer.errors import InputError
from transfer.images.sources import DataOptions
from transfer.names import shown

NAMED = 8
"""Runs that are named where the one asked for is not there."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A run, and what its models said of a split.

    Attributes:
        name: Of the run.
        folder: Its folder.
        said: What `evaluate` kept.
        head: What `head.json` says.
        tuned: What `finetune.json` says, if there is a fine-tuned model.
        data: Of which images it was made.
    """

    name: str
    folder: Path
    said: Predictions
    head: dict[str, Any]
    tuned: dict[str, Any] | None
    data: DataOptions


def read_runs(runs: Path, words: Sequence[str], split: str) -> list[Evaluated]:
    """Reads what was said by the models of the runs that are named.

    Args:
        runs: The folder of runs.
        words: Names of folders in it, `latest`, or paths of runs; none for the last one.
        split: That was evaluated.

    Raises:
        InputError: If there is no such run, one is named twice, or one was not evaluated as it is
            now.
    """
    folders = [_folder(runs, word) for word in words or (LATEST,)]
    places = [folder.resolve() for folder in folders]  # `latest` may be a link
    for place in places:
        if places.count(place) > 1:
            raise InputError(f"expected different runs, received {shown(place.name)} twice")
    names = [place.name for place in places]
    return [
        _read(folder, place.name if names.count(place.name) == 1 else str(place), split)
        for folder, place in zip(folders, places, strict=True)
    ]


def _folder(runs: Path, word: str) -> Path:
    if word == LATEST:
        if (name := latest(runs)) is None:
            raise InputError(f"expected runs in {runs}, found no last one; name those to compare")
        return runs / name
    for folder in (runs / word, Path(word)):
        if folder.is_dir():
            return folder
    there = sorted(path.name for path in runs.glob("*/") if path.name != LATEST)
    more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
    raise InputError(
        f"expected the name of a run in {runs} or the path of one, received {word!r}; "
        f"there: {shown(', '.join(there[:NAMED]) or 'none')}{more}"
    )


def _read(folder: Path, name: str, split: str) -> Evaluated:
    said = read_predictions(folder, split)
    if said is None:
        raise InputError(
            f"run {shown(name)} has not been evaluated on the {split} split; {_cure(folder, split)}"
        )
    head = read_head(folder)
    tuned = read_finetuned(folder, head, "compare")
    if changed := what_changed(said, head, tuned):
        raise InputError(
            f"run {shown(name)} was evaluated on the {split} split {changed}; "
            f"{_cure(folder, split)}"
        )
    data = fill(DataOptions(), {"data": tables_in(folder).get("data", {})}, "data")
    return Evaluated(name, folder, said, head, tuned, data)


def what_changed(said: Predictions, head: dict[str, Any], tuned: dict[str, Any] | None) -> str:
    """How the run that was evaluated differs from the one that is there; empty if it does not.

    Args:
        said: What `evaluate` kept.
        head: What `head.json` says.
        tuned: What `finetune.json` says, if there is a fine-tuned model.
    """
    if said.head_id != head["id"]:
        return "with an older head than it has now"
    if said.tuned_id != tuned_id(tuned):
        if said.tuned_id:
            return "with a fine-tuned model that it no longer has"
        return "before it was fine-tuned"
    return ""


def _cure(folder: Path, split: str) -> str:
    run = folder.resolve()
    artifacts = run.parent.parent
    words = ["transfer", "evaluate", "--run", run.name]
    words += ["--split", split] if split != "test" else []
    words += ["--artifacts", str(artifacts)] if artifacts != Path("artifacts").resolve() else []
    return f"run `{shown(shlex.join(words))}`"

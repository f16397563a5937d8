"""Recipes against the figures that they say they reach, where the data is at hand."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.recipes import load_recipe, names
from tests.benchmarks.commands import run_stage
from tests.benchmarks.timing import figure
from tests.places import SHARED

ARTIFACTS = Path("artifacts")


def recipes() -> list[dict]:
    """Runs each recipe as a user types it, as far as its `[expected]` table names figures.

    Returns:
        Rows of accuracy over the expected one less two standard errors: 1 or more is as expected.
    """
    return [
        row
        for name in names()
        for measured in load_recipe(name)["expected"].get("measured", ())
        for row in _compared(name, measured)
    ]


def _compared(name: str, measured: Mapping[str, Any]) -> Iterator[dict]:
    files = {option: SHARED / file for option, file in measured.get("files", {}).items()}
    if missing := [path.name for path in files.values() if not path.exists()]:
        print(f"bench: {name} is left out, for {', '.join(missing)} is not at hand")
        return
    run = f"bench-{name}"
    folder = ARTIFACTS / "runs" / run
    shutil.rmtree(folder, ignore_errors=True)
    flags = ["--recipe", name, "--run", run]
    for option, value in {**measured.get("options", {}), **files}.items():
        values = value if isinstance(value, list) else [value]
        flags += [f"--{option.replace('_', '-')}", *map(str, values)]
    log = ARTIFACTS / f"{run}.log"
    stages = ["all"] if measured["stages"] == "all" else ["head", "evaluate"]
    seconds = sum(run_stage(stage, *flags, log=log)[0] for stage in stages)
    split = measured["split"]
    scores = json.loads((folder / f"evaluation-{split}.json").read_text())["models"]
    for model in ("head", "finetuned"):
        if model in measured:
            yield _row(f"{name}, {model}, {seconds:.0f} s", split, scores[model], measured[model])


def _row(name: str, split: str, score: Mapping[str, Any], expected: float) -> dict:
    reached, count = score["accuracy"], score["num_images"]
    error = math.sqrt(expected * (1 - expected) / count)
    what = f"recipe {name}: {split} accuracy {reached:.4f}, expected {expected:.4f} +- {error:.4f}"
    return figure(what, reached / (expected - 2 * error), 1)

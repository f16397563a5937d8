"""The default sweep as a user types it: time, what it wins over the default head, memory."""

import json
import shutil

from tests.benchmarks import cifar
from tests.benchmarks.commands import run_stage
from tests.benchmarks.timing import figure

MOST_SECONDS = 240
MOST_MEMORY = 1.5
"""GiB beside the features."""


def default_sweep() -> list[dict]:
    """`transfer sweep` and `transfer head` without options, on 1,280 features of CIFAR-10."""
    with cifar.features_stage.open_features(cifar.setup()) as features:
        num_bytes = len(features) * 1280 * features.dtype.itemsize
    head, _, _ = _run("head")
    sweep, peak, seconds = _run("sweep")
    gained = 100 * (sweep["chosen"]["val_accuracy"] - head["val_accuracy"])
    what = f"default sweep, {sweep['tried']} heads"
    return [
        figure(f"{what}: share of 4 minutes, turned over", MOST_SECONDS / seconds, 1),
        figure(f"{what}: points of validation accuracy over the default head", gained, 1),
        figure(
            f"{what}: features + 1.5 GiB / peak memory",
            (num_bytes / 2**30 + MOST_MEMORY) / peak,
            1,
        ),
    ]


def _run(stage: str) -> tuple[dict, float, float]:
    """A stage's result, its peak memory in GiB, and seconds from start to end."""
    setup, run = cifar.setup(), f"bench-{stage}"
    folder = setup.artifacts / "runs" / run
    shutil.rmtree(folder, ignore_errors=True)  # a journal would answer at once
    log = setup.artifacts / f"{run}.log"
    seconds, peak = run_stage(stage, *cifar.options(), "--run", run, log=log)
    result = json.loads((folder / f"{stage}.json").read_text())
    return result, peak, seconds

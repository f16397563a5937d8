"""The default sweep as a user types it: time, what it wins over the default head, memory."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks import cifar
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
    backbone = setup.backbone
    words = {
        "data": setup.data.data,
        "backbone": backbone.backbone,
        "weights": backbone.weights,
        "alpha": backbone.alpha,
        "image-size": backbone.image_size,
        "cut": cifar.TOP,
        "run": run,
    }
    options = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    log = Path(setup.artifacts / f"{run}.log")
    started = time.monotonic()
    with log.open("w") as file:
        command = [sys.executable, "-m", "pipelines.cli", stage, *options]
        child = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    if status:
        raise RuntimeError(f"transfer {stage} ended with {status}; see {log}")
    result = json.loads((folder / f"{stage}.json").read_text())
    return result, usage.ru_maxrss / 2**20, seconds

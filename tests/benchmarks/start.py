"""How soon the command line answers, and what the first and the second `make features` take."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.commands import run_stage
from tests.benchmarks.timing import figure, seconds, summary

REPETITIONS = 7
HELP_SECONDS, HIT_SECONDS = 0.3, 0.5
"""Most seconds beyond those of the interpreter alone."""
FILES, UNCHANGED_SECONDS = 60_000, 0.7


def start() -> list[dict]:
    """`transfer --help` and a cache hit beyond `python -c pass`; processes from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--recipe", "demo", "--artifacts", folder, "--limit-per-class", "5"]
        ways = {
            "pass": [sys.executable, "-c", "pass"],
            "import keras": [sys.executable, "-c", "import keras"],
            "--help": [sys.executable, "-m", "pipelines.cli", "--help"],
            "hit": [sys.executable, "-m", "pipelines.cli", "features", *options],
        }
        for command in ways.values():
            _run(command)
        taken = [
            {name: seconds(lambda command=command: _run(command)) for name, command in ways.items()}
            for _ in range(REPETITIONS)
        ]
    rows = [
        summary(
            f"second run of features: python -c {code!r} / all of it",
            [(times[code], times["hit"]) for times in taken],
        )
        for code in ("pass", "import keras")
    ]
    for name, what, most in (
        ("--help", "transfer --help", HELP_SECONDS),
        ("hit", "a cache hit", HIT_SECONDS),
    ):
        beyond = sorted(times[name] - times["pass"] for times in taken)[REPETITIONS // 2]
        rows.append(figure(f"{what}: {most} s / {beyond:.2f} s beyond Python", most / beyond, 1))
    return rows


def cold_and_warm() -> list[dict]:
    """`make features RECIPE=demo` on an empty store, and once more."""
    pairs = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            options = ["--recipe", "demo", "--artifacts", folder]
            cold, _ = run_stage("features", *options)
            warm, _ = run_stage("features", *options)
            pairs.append((cold, warm))
    return [summary("features of 1,797 digits: first run / second", pairs)]


def unchanged() -> list[dict]:
    """The second run of features on a folder of as many small images as CIFAR-10 has."""
    tiny = ["--backbone", "MobileNetV2", "--weights", "none", "--alpha", "0.35"]
    tiny += ["--image-size", "32", "--cut", "expanded_conv_project_BN", "--pooling", "avg"]
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder, "images"), FILES)
        options = ["--data", str(Path(folder, "images")), "--artifacts", folder, *tiny]
        run_stage("features", *options)
        taken = sorted(run_stage("features", *options)[0] for _ in range(REPETITIONS))
    median = taken[REPETITIONS // 2]
    what = f"features of {FILES:,} unchanged files: {UNCHANGED_SECONDS} s / {median:.2f} s"
    return [figure(what, UNCHANGED_SECONDS / median, 1)]


def _fill(folder: Path, num_files: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (num_files, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = folder / f"class{number % 10}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True)

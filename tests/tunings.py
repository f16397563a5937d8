"""Fine-tuning as a process of its own, killed at an event, and what an unbroken one came to.

`python -m tests.tunings EVENT finetune --data ...` is the command line as a user types it, which
kills itself before its event of that number: a step of a training, a file that is made durable or
that takes its name. At event 0 it runs to its end.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pipelines.small_runs import options
from tests.places import PROJECT

PLAIN = ["--no-flip", "--shift", "0", "--crop", "0", "--colour", "0"]
"""No random changes."""
TUNING = ["--unfreeze", "blocks:1", "--batch-size", "8", "--epochs", "5", "--head-rate", "30"]
RATE = ["--learning-rate", "1e-4"]
"""Features of random weights are small, so that little moves them far; the head learns more."""


def textures(folder: Path, count: int = 40) -> Path:
    """Lines across or down, of any phase, under noise: some are mistaken by any head."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            wave = 25 * np.sin(np.arange(24) * 2 * np.pi / 6 + rng.uniform(0, 2 * np.pi))
            lines = np.broadcast_to(wave[:, None] if label == 0 else wave, (24, 24))
            pixels = 128 + lines[:, :, None] + rng.normal(0, 40, (24, 24, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number:03d}.png")
    return folder


def run_of(place: Path, name: str = "run") -> Path:
    return place / "artifacts" / "runs" / name


def result_of(place: Path, name: str = "run") -> dict:
    return json.loads((run_of(place, name) / "finetune.json").read_text())


def words(place: Path, *more: str) -> list[str]:
    return ["finetune", *options(place, *TUNING, *more)]


def copied(place: Path, run: str, name: str) -> None:
    """The same head in a run of another name."""
    shutil.copytree(run_of(place, run), run_of(place, name))


def watch(happens: Callable[[], None]) -> None:
    """Has something happen before each event."""
    from transfer.finetuning import tuning

    for owner, name in ((os, "fsync"), (os, "replace"), (tuning._Epochs, "on_train_batch_end")):
        call = getattr(owner, name)

        def watched(*args, call=call, **kwargs):
            happens()
            return call(*args, **kwargs)

        setattr(owner, name, watched)


def strike(arguments: Sequence[str], event: int) -> bool:
    """Runs a command as a process that dies at an event; whether it did."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tunings", str(event), *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def survive(place: Path, run: str, kills: Sequence[int]) -> Counter:
    """Kills a fine-tuning at events, lets it end, and compares it with one that was not.

    Args:
        place: Where the run `run` was fine-tuned already, and `run`-head has its head alone.
        run: Its name.
        kills: Events, one a start; a start that ends before it needs no further one.

    Returns:
        How many kills struck, and how many came when all was done.
    """
    name, tally = f"{run}-{'-'.join(map(str, kills))}", Counter[str]()
    copied(place, f"{run}-head", name)
    for event in [*kills, 0]:
        struck = strike(words(place, "--run", name, *PLAIN), event)
        if event:
            tally["kills" if struck else "struck too late"] += 1
        if not struck:
            break
    check_same(place, run, name)
    shutil.rmtree(run_of(place, name))
    return tally


def check_same(place: Path, one: str, other: str) -> None:
    """Two runs came to the same scores, histories and weights."""
    results = [result_of(place, name) for name in (one, other)]
    for name in ("before", "after", "share", "temperature", "learning_rate", "judged_by", "folds"):
        numbers = [_numbers(result[name]) for result in results]
        np.testing.assert_allclose(numbers[1], numbers[0], rtol=1e-4, atol=1e-6, err_msg=name)
    histories = [
        np.genfromtxt(run_of(place, name) / "finetune-history.csv", delimiter=",", skip_header=1)
        for name in (one, other)
    ]
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4, atol=1e-6)
    files = [run_of(place, name) / "finetuned.keras" for name in (one, other)]
    assert files[0].exists() == files[1].exists()
    if files[0].exists():
        for expected, found in zip(*map(weights_of, files), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not (run_of(place, other) / "finetune-checkpoints").exists()


def weights_of(path: Path) -> list[np.ndarray]:
    import keras

    return keras.models.load_model(path, compile=False).get_weights()


def _numbers(value: dict | float) -> list[float]:
    return list(value.values()) if isinstance(value, dict) else [value]


def main() -> int:
    from pipelines.cli import main as command

    event, seen = int(sys.argv[1]), 0

    def happens() -> None:
        nonlocal seen
        seen += 1
        if seen == event:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(happens)
    return command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

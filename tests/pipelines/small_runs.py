"""Stages on a small network and photographs that any network tells apart."""

import numpy as np
from PIL import Image

from pipelines.cli import main

SMALL = [
    *["--backbone", "MobileNetV2", "--alpha", "0.35", "--weights", "none", "--image-size", "32"],
    *["--cut", "block_1_depthwise_relu", "block_2_add"],
]


def photographs(folder, classes=("cat", "dog"), count=24):
    """Two kinds of pictures that any network tells apart: bright above, or bright below."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        for number in range(count):
            pixels = rng.integers(0, 100, (20, 24, 3))
            half = slice(0, 10) if label == 0 else slice(10, 20)
            pixels[half] += 150
            path = folder / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def options(place, *more):
    return [
        *["--data", str(place / "photos"), "--val-fraction", "0.25", "--test-fraction", "0.25"],
        *["--artifacts", str(place / "artifacts"), "--run", "run", *SMALL, *more],
    ]


def refused(capsys, *arguments):
    """Runs a command that must fail as a user's mistake does; returns what it says."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said

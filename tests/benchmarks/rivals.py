"""What a user would run instead: timm on PyTorch and on ONNX Runtime, in an environment of its own.

`tests.benchmarks.engines` starts this file with that environment's Python and asks for one timing
after another, a JSON object a line, so that both sides are timed in turn. It imports nothing of
the project.
"""

import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch

Forward = Callable[[np.ndarray], np.ndarray]


def pytorch(model: torch.nn.Module, images: np.ndarray) -> Forward:
    """Eager, channels last, without gradients."""
    model = model.to(memory_format=torch.channels_last)

    def forward(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            tensor = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
            return model(tensor).numpy()

    return forward


def onnx(model: torch.nn.Module, images: np.ndarray) -> Forward:
    """The same model exported, with ONNX Runtime's defaults."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (torch.from_numpy(images),), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = [one.name for one in session.get_inputs()]
    return lambda batch: session.run(None, {name: batch})[0]


WAYS = {"pytorch": pytorch, "onnx": onnx}


def random_images(side: int, batch_size: int) -> np.ndarray:
    """`(batch, 3, side, side)` float32, as if preprocessed."""
    return np.random.default_rng(0).normal(size=(batch_size, 3, side, side)).astype(np.float32)


@cache
def made(way: str, name: str, side: int, batch_size: int) -> Forward:
    """A model of timm's with random weights, without its last layer, warmed up."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    images = random_images(side, batch_size)
    forward = WAYS[way](model, images)
    forward(images), forward(images)
    return forward


def seconds(way: str, name: str, side: int, batch_size: int, batches: int) -> float:
    """Wall seconds of some batches."""
    forward, images = made(way, name, side, batch_size), random_images(side, batch_size)
    started = time.perf_counter()
    for _ in range(batches):
        forward(images)
    return time.perf_counter() - started


def main() -> None:
    """Answers requests, the arguments of `seconds`, until standard input ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    answers, sys.stdout = sys.stdout, sys.stderr  # exporters print
    for line in sys.stdin:
        print(json.dumps(seconds(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()

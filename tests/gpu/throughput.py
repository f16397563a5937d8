"""Images per second on an accelerator, against its peak, and the whole `features` stage.

    KERAS_BACKEND=jax python -m tests.gpu.throughput --data cifar-10-python.tar.gz

Runs on each of Keras's backends; TensorFlow need not be installed for the others. Weights are
random: they change no time. Without an accelerator it runs as well, and says nothing of use.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache.store import read_about
from pipelines.results import print_table
from tests.places import SHARED
from transfer.backbones.options import BackboneOptions
from transfer.backend.devices import device_name
from transfer.backend.startup import import_keras

if TYPE_CHECKING:
    import keras

PEAKS = {
    "bfloat16": {"H200": 989e12, "H100": 989e12, "A100": 312e12},
    "float32": {"H200": 67e12, "H100": 67e12, "A100": 19.5e12},
}
"""Most operations a second: dense bfloat16, and float32 without the shortened factors of TF32.
Source: NVIDIA's data sheets, the SXM modules."""


@dataclass(frozen=True)
class Case:
    """A backbone, the size it sees, and the images per second that are the goal on one H200."""

    name: str
    side: int
    goal: int | None


CASES = (
    Case("MobileNetV2", 224, 50_000),
    Case("EfficientNetLite0", 224, None),
    Case("InceptionV3", 299, 20_000),
    Case("InceptionResNetV2", 299, 9_000),
)
STAGE = "InceptionV3", 299
STAGE_SECONDS = 10
"""Most seconds in the backbone for all 60,000 images of CIFAR-10."""


def multiply_adds(model: "keras.Model") -> int:
    """Multiply-adds of the kernels of a frozen model, for one image; twice as many FLOPs."""
    return sum(
        multiply_adds(layer)
        if hasattr(layer, "layers")
        else sum(
            math.prod(weight.shape) * math.prod(layer.output.shape[1:-1])
            for weight in layer.weights
            if len(weight.shape) > 1
        )
        for layer in model.layers
    )


def measure(case: Case, precision: str, batch_size: int, seconds: float) -> list:
    """One row of the table: small uint8 images go in, features in memory come out."""
    from transfer.extraction.extraction import build_extractor
    from transfer.extraction.keras_engine import KerasEngine
    from transfer.images.imageset import Batch

    options = BackboneOptions(case.name, "none", image_size=case.side, cut=("top",))
    _, body = build_extractor(options, precision)
    pixels = np.random.default_rng(0).integers(0, 256, (batch_size, 32, 32, 3), np.uint8)
    batch, engine = Batch(np.arange(batch_size), pixels), KerasEngine(body, batch_size)
    list(engine.run([batch] * 3))  # compiled

    def batches():
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield batch

    started = time.monotonic()
    count = sum(len(done.rows) for done, _ in engine.run(batches()))
    speed = count / (time.monotonic() - started)
    flops = 2 * multiply_adds(body)
    peaks = PEAKS[precision].items()
    peak = next((peak for name, peak in peaks if name in accelerator()), None)
    share = f"{speed * flops / peak:.3f}" if peak else "no peak known"
    name = f"{case.name} @{case.side}"
    return [name, precision, batch_size, f"{speed:,.0f}", case.goal, f"{flops / 1e9:.2f}", share]


def accelerator() -> str:
    """What its maker calls the first accelerator; empty without one."""
    import keras

    match keras.backend.backend():
        case "tensorflow":
            from tensorflow import config

            found = config.list_physical_devices("GPU")
            return config.experimental.get_device_details(found[0])["device_name"] if found else ""
        case "jax":
            import jax

            return jax.devices()[0].device_kind
        case _:
            from torch import cuda

            return cuda.get_device_name() if cuda.is_available() else ""


def measure_stage(data: Path, words: list[str]) -> list:
    """`transfer features` in a process of its own, from the archive to the sealed file."""
    name, side = STAGE
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *[sys.executable, "-m", "pipelines.cli", "features", "--artifacts", folder],
            *["--data", str(data), "--backbone", name, "--weights", "none"],
            *["--image-size", str(side), "--precision", "bfloat16", *words],
        ]
        started = time.monotonic()
        subprocess.run(command, check=True)
        whole = time.monotonic() - started
        (path,) = Path(folder).glob("features/*/features.h5")
        about = read_about(path)
    speed = about["images_per_second"]
    goal = f"{STAGE_SECONDS} s for 60,000"
    return [about["engine"], f"{speed:,.0f}", f"{60_000 / speed:.1f}", goal, f"{whole:.1f}"]


def main() -> None:
    """Prints two tables and writes `artifacts/gpu.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "cifar10-jpeg.tar.xz")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--backbone", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("words", nargs="*", help="further options of transfer features, behind --")
    chosen = parser.parse_args()
    # First, for it needs the accelerator's memory, which some backends take whole.
    stage = measure_stage(chosen.data, chosen.words) if chosen.data.exists() else None
    import_keras()
    rows = [
        measure(case, precision, chosen.batch_size, chosen.seconds)
        for case in CASES
        for precision in chosen.precision
        if case.name in chosen.backbone
    ]
    columns = ["backbone", "precision", "batch", "images/s", "goal", "GFLOP/image", "of the peak"]
    print_table(f"{device_name()} {accelerator()}", columns, rows)
    stage_columns = ["engine", "images/s", "seconds for 60,000", "goal", "whole command, seconds"]
    if stage:
        print_table("the whole stage, {} @{}, bfloat16".format(*STAGE), stage_columns, [stage])
    found = {"device": accelerator(), "engines": rows, "stage": stage}
    path = Path("artifacts") / "gpu.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

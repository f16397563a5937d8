"""What `transfer features` costs in time and memory as the images grow in number."""

import json
import tempfile
from pathlib import Path

from cache.store import read_about
from tests.benchmarks import cifar
from tests.benchmarks.commands import run_stage
from tests.benchmarks.timing import figure, summary

LIMITS = {1_000: 50, 6_000: 300, 60_000: None}
"""Images of CIFAR-10, and the limit per class and given split that leaves so many."""
REPETITIONS = 2
PICTURE = Path("artifacts") / "bench-cost.png"


def cost() -> list[dict]:
    """CIFAR-10 as JPEG, MobileNetV2 0.35 @96, from the command to the sealed file.

    Goals: time is a straight line over the number of images, and the peak memory at 60,000 images
    is within 10 % of that at 6,000.
    """
    runs = [{number: _run(limit) for number, limit in LIMITS.items()} for _ in range(REPETITIONS)]
    _draw(runs)
    for number in LIMITS:
        print(f"{number:,} images: {json.dumps([run[number] for run in runs])}", flush=True)
    few, middle, many = LIMITS
    lines = []
    for run in runs:
        first, second, last = (run[number]["seconds"] for number in LIMITS)
        share = (middle - few) / (many - few)
        lines.append((first + share * (last - first), second))
    room = min(1.1 * run[middle]["GiB"] / run[many]["GiB"] for run in runs)
    return [
        summary("6,000 images, on the line through 1,000 and 60,000 / measured", lines, goal=0.9),
        figure("peak memory at 6,000 images x 1.1 / at 60,000, lowest", room, goal=1),
    ]


def _run(limit: int | None) -> dict[str, float]:
    options = [*cifar.options(), "--engine", "openvino"]  # auto would run 1,000 through Keras
    if limit:
        options += ["--limit-per-class", str(limit)]
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak = run_stage("features", *options, "--artifacts", folder)
        (path,) = Path(folder).glob("features/*/features.h5")
        speed = read_about(path)["images_per_second"]
    return {"seconds": round(seconds, 1), "images/s": speed, "GiB": round(peak, 3)}


def _draw(runs: list[dict[int, dict[str, float]]]) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 4), layout="constrained")
    time, memory = drawing.subplots(1, 2)
    for axes, name, unit in (
        (time, "seconds", "seconds, start to end"),
        (memory, "GiB", "peak memory, GiB"),
    ):
        for run in runs:
            axes.plot(list(run), [one[name] for one in run.values()], marker="o", color="C0")
        axes.set(xlabel="images", ylabel=unit, xlim=(0, None))
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
    drawing.suptitle("transfer features: CIFAR-10, MobileNetV2 0.35 @96")
    PICTURE.parent.mkdir(exist_ok=True)
    drawing.savefig(PICTURE, dpi=120)
    print(f"bench: a picture in {PICTURE}")

"""The backbone alone, by engine, against Keras's `predict` and what a user would run instead.

Of each arithmetic also how near it is to a bare matrix product, timed in turn with it.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.limit import NEAR, MatrixProducts
from tests.benchmarks.timing import seconds, summary
from transfer.backbones.cuts import TOP
from transfer.backbones.options import BackboneOptions
from transfer.backend.startup import import_keras

if TYPE_CHECKING:
    from transfer.extraction.engines import Engine

BATCH = 64
REPETITIONS = 3
RIVALS = Path(os.environ.get("BENCH_VENV", ".venv-bench")) / "bin" / "python"
"""The Python of the environment that `make bench` installs `rivals.txt` into."""
LOG = Path("artifacts") / "bench-rivals.log"


@dataclass(frozen=True)
class Case:
    """One backbone at one size.

    Attributes:
        name: Of ours.
        rival: Timm's name of the same architecture.
        side: In pixels.
        batches: Of 64 images, so many that each way takes some seconds.
    """

    name: str
    rival: str
    side: int
    batches: int


CASES = (
    Case("MobileNetV2", "mobilenetv2_100", 96, 16),
    Case("MobileNetV2", "mobilenetv2_100", 224, 4),
    Case("EfficientNetLite0", "tf_efficientnet_lite0", 160, 8),
    Case("InceptionV3", "inception_v3", 139, 3),
    Case("InceptionResNetV2", "inception_resnet_v2", 139, 1),
)


def engines() -> list[dict]:
    """Rows for all cases: random images in memory, in the size that the backbone sees."""
    import_keras()
    with _rivals() as ask:
        products = MatrixProducts()
        return [row for case in CASES for row in _engines(case, ask, products)]


def _engines(case: Case, ask: Callable[..., float], products: MatrixProducts) -> list[dict]:
    from transfer.backbones.operations import multiply_adds
    from transfer.extraction.extraction import build_extractor
    from transfer.extraction.keras_engine import KerasEngine
    from transfer.extraction.openvino_engine import OpenVINOEngine, abilities
    from transfer.images.imageset import Batch

    options = BackboneOptions(case.name, "none", image_size=case.side, cut=(TOP,))
    _, body = build_extractor(options)
    pixels = np.random.default_rng(0).uniform(0, 255, (BATCH, case.side, case.side, 3))
    batches = [Batch(np.arange(BATCH), pixels.astype(np.float32))] * case.batches
    whole = np.concatenate([batch.images for batch in batches])

    def run(engine: "Engine") -> Callable[[], object]:
        return lambda: [None for _ in engine.run(batches)]

    def rival(way: str) -> Callable[[], float]:
        return lambda: ask(
            way=way, name=case.rival, side=case.side, batch_size=BATCH, batches=case.batches
        )

    keras, openvino = KerasEngine(body, BATCH), OpenVINOEngine(body)
    int8 = OpenVINOEngine(body, batches[0].images)
    arithmetics = {"float32": "our OpenVINO engine", "int8": "our int8 engine"}
    half: dict[str, Callable[[], float]] = {}
    if "BF16" in abilities():
        bfloat16 = OpenVINOEngine(body, bfloat16=True)
        arithmetics["bfloat16"] = "our bfloat16 engine"
        half["our bfloat16 engine"] = lambda: seconds(run(bfloat16))
    others: dict[str, Callable[[], float]] = {
        "Keras predict": lambda: seconds(lambda: body.predict(whole, batch_size=BATCH, verbose=0)),
        "timm on PyTorch": rival("pytorch"),
        "timm on ONNX Runtime": rival("onnx"),
    }
    ways = {
        **others,
        "our Keras engine": lambda: seconds(run(keras)),
        "our OpenVINO engine": lambda: seconds(run(openvino)),
        "our int8 engine": lambda: seconds(run(int8)),
        **half,
        **{f"product in {each}": partial(products.seconds_each, each) for each in arithmetics},
    }
    for way in ways.values():
        way()
    taken = [{name: way() for name, way in ways.items()} for _ in range(REPETITIONS)]
    _say(case, taken)
    operations = multiply_adds(body) * case.batches * BATCH / 1e9
    pairs = [
        ("Keras predict", "our Keras engine"),
        *((one, "our OpenVINO engine") for one in others),
        ("our OpenVINO engine", "our int8 engine"),
        *(("our OpenVINO engine", one) for one in half),
    ]
    rows = [
        summary(
            f"{case.name} @{case.side}: {one} / {other}",
            [(times[one], times[other]) for times in taken],
        )
        for one, other in pairs
    ]
    return rows + [
        summary(
            f"{case.name} @{case.side}, {arithmetic}: share of a matrix product's speed",
            [(times[f"product in {arithmetic}"], times[way] / operations) for times in taken],
            goal=NEAR,
        )
        for arithmetic, way in arithmetics.items()
    ]


def _say(case: Case, taken: Sequence[Mapping[str, float]]) -> None:
    for name in taken[0]:
        median = np.median([times[name] for times in taken])
        if name.startswith("product"):
            print(f"{name}: {2 / median:.0f} GFLOP/s", flush=True)
        else:
            speed = case.batches * BATCH / median
            print(f"{case.name} @{case.side}, {name}: {speed:.0f} images/s", flush=True)


@contextmanager
def _rivals() -> Iterator[Callable[..., float]]:
    """Starts `rivals.py` in its own environment; yields what asks it for a timing."""
    if not RIVALS.exists():
        raise FileNotFoundError(f"expected {RIVALS}, found none; `make bench` installs it")
    command = [RIVALS, Path(__file__).with_name("rivals.py")]
    LOG.parent.mkdir(exist_ok=True)
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
    ):
        assert child.stdin
        assert child.stdout

        def ask(**request: object) -> float:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
            if not answer:
                raise RuntimeError(f"{request} failed; see {LOG}")
            return float(json.loads(answer))

        yield ask
        child.stdin.close()

"""How near the backbones come to what this machine can multiply at all, in each arithmetic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.engines import BATCH, CASES, REPETITIONS, Case
from tests.benchmarks.timing import seconds, summary
from transfer.backbones.cuts import TOP
from transfer.backbones.options import BackboneOptions
from transfer.backend.startup import import_keras

if TYPE_CHECKING:
    import keras

    from transfer.extraction.engines import Engine

CHANNELS, LAYERS, SIDE = 512, 8, 32
"""Of 1x1 convolutions, each a product of a 1,024 x 512 and a 512 x 512 matrix per image."""
NEAR = 0.8
"""Share of a bare matrix product above which fewer operations are the only way on."""


@dataclass(frozen=True)
class Timed:
    """A network in one arithmetic.

    Attributes:
        run: Runs it over its images.
        operations: Billions of multiply-adds of such a run.
    """

    run: Callable[[], object]
    operations: float

    def seconds_each(self) -> float:
        """Seconds of a billion multiply-adds."""
        return seconds(self.run) / self.operations


def limit() -> list[dict]:
    """Rows of all backbones in float32, int8 and, where the CPU has it, bfloat16.

    A bare matrix product runs through the same engine, in turn with the backbone, in the same
    arithmetic. Ratios are shares of its multiply-adds per second.
    """
    import_keras()
    bare = _in_each_arithmetic(_matrix_products(), 8)
    return [row for case in CASES for row in _shares(case, bare)]


def _shares(case: Case, bare: dict[str, Timed]) -> Iterator[dict]:
    from transfer.extraction.extraction import build_extractor

    options = BackboneOptions(case.name, "none", image_size=case.side, cut=(TOP,))
    _, body = build_extractor(options)
    for arithmetic, ours in _in_each_arithmetic(body, case.batches).items():
        baseline = bare[arithmetic]
        baseline.run(), ours.run()  # compiled before anything counts
        pairs = [(baseline.seconds_each(), ours.seconds_each()) for _ in range(REPETITIONS)]
        speed = case.batches * BATCH / (np.median([own for _, own in pairs]) * ours.operations)
        print(
            f"{case.name} @{case.side}, {arithmetic}: {speed:.0f} images/s, "
            f"{ours.operations / case.batches / BATCH:.2f} billion multiply-adds each; matrix "
            f"product {2 / np.median([bare for bare, _ in pairs]):.0f} GFLOP/s",
            flush=True,
        )
        name = f"{case.name} @{case.side}, {arithmetic}: share of a matrix product's speed"
        yield summary(name, pairs, goal=NEAR)


def _in_each_arithmetic(body: "keras.Model", batches: int) -> dict[str, Timed]:
    from transfer.backbones.operations import multiply_adds
    from transfer.extraction.openvino_engine import OpenVINOEngine, abilities
    from transfer.images.imageset import Batch

    shape = (BATCH, *body.input_shape[1:])
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    given = [Batch(np.arange(BATCH), pixels)] * batches
    operations = multiply_adds(body) * BATCH * batches / 1e9

    def timed(engine: "Engine") -> Timed:
        return Timed(lambda: [None for _ in engine.run(given)], operations)

    found = {"float32": timed(OpenVINOEngine(body)), "int8": timed(OpenVINOEngine(body, pixels))}
    if "BF16" in abilities():
        found["bfloat16"] = timed(OpenVINOEngine(body, bfloat16=True))
    return found


def _matrix_products() -> "keras.Model":
    import keras

    pixels = keras.Input((SIDE, SIDE, 3))
    maps = pixels
    with_rectifiers = keras.initializers.HeNormal(0)
    for _ in range(LAYERS):
        maps = keras.layers.Conv2D(CHANNELS, 1, kernel_initializer=with_rectifiers)(maps)
        maps = keras.layers.ReLU()(maps)
    return keras.Model(pixels, [keras.layers.GlobalAveragePooling2D()(maps)])

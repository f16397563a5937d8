"""How fast a machine multiplies at all: bare matrix products, run by the same engine."""

import numpy as np

from tests.benchmarks.timing import seconds
from transfer.extraction.engines import Engine
from transfer.images.imageset import Batch

BATCH, BATCHES = 64, 2
CHANNELS, LAYERS, SIDE = 512, 8, 32
"""Of 1x1 convolutions, each a product of a 1,024 x 512 and a 512 x 512 matrix per image."""
NEAR = 0.8
"""Share of a bare matrix product above which fewer operations are the only way on."""


class MatrixProducts:
    """The products as a network, in each of some arithmetics."""

    def __init__(self) -> None:
        from transfer.backbones.operations import multiply_adds
        from transfer.extraction.openvino_engine import OpenVINOEngine, abilities

        model = _model()
        pixels = np.random.default_rng(0).uniform(0, 255, (BATCH, SIDE, SIDE, 3))
        self._given = [Batch(np.arange(BATCH), pixels.astype(np.float32))] * BATCHES
        self._operations = multiply_adds(model) * BATCH * BATCHES / 1e9
        self._engines: dict[str, Engine] = {
            "float32": OpenVINOEngine(model),
            "int8": OpenVINOEngine(model, self._given[0].images),
        }
        if "BF16" in abilities():
            self._engines["bfloat16"] = OpenVINOEngine(model, bfloat16=True)

    def seconds_each(self, arithmetic: str) -> float:
        """Seconds of a billion multiply-adds, timed now."""
        engine = self._engines[arithmetic]
        return seconds(lambda: [None for _ in engine.run(self._given)]) / self._operations


def _model():
    import keras

    pixels = keras.Input((SIDE, SIDE, 3))
    maps = pixels
    with_rectifiers = keras.initializers.HeNormal(0)
    for _ in range(LAYERS):
        maps = keras.layers.Conv2D(CHANNELS, 1, kernel_initializer=with_rectifiers)(maps)
        maps = keras.layers.ReLU()(maps)
    return keras.Model(pixels, [keras.layers.GlobalAveragePooling2D()(maps)])

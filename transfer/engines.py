"""Engines: stream batches of images through a frozen model."""

from collections.abc import Iterable, Iterator

import keras
import numpy as np

from transfer.images import Batch
from transfer.resizing import resize_pixels


class KerasEngine:
    """Runs a model over batches with Keras, on whatever device its backend chooses.

    Args:
        body: Model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to one output or a list.
        batch_size: Rows of one batch; shorter batches are padded, so that nothing is compiled
            twice.
    """

    def __init__(self, body: keras.Model, batch_size: int) -> None:
        self._body = body
        self._batch_size = batch_size
        self._image_size: tuple[int, int] = body.input_shape[1:3]
        self._models: dict[tuple[tuple[int, ...], str], keras.Model] = {}

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[np.ndarray]]]:
        """Yields each batch with the model's outputs for it.

        Args:
            batches: Native uint8 batches are resized on the device, float32 ones come resized.

        Yields:
            The batch and one `(batch, ...)` float32 array per output of the model.
        """
        for batch in batches:
            model = self._model_for(batch.images)
            missing = self._batch_size - len(batch.images)
            padding = [(0, missing)] + [(0, 0)] * 3
            images = np.pad(batch.images, padding) if missing else batch.images
            outputs = model.predict_on_batch(images)
            if not isinstance(outputs, list | tuple):
                outputs = [outputs]
            yield batch, [np.asarray(output)[: len(batch.images)] for output in outputs]

    def _model_for(self, images: np.ndarray) -> keras.Model:
        signature = (images.shape[1:], str(images.dtype))
        if signature not in self._models:
            inputs = keras.Input(images.shape[1:], dtype=images.dtype)
            pixels = resize_pixels(inputs, self._image_size)
            # Without training=False a layer in front would turn BatchNorm on.
            model = keras.Model(inputs, self._body(pixels, training=False))
            # XLA can be ten times slower on a CPU (depthwise convolutions); JAX always compiles.
            model.compile(jit_compile=keras.backend.backend() == "jax")
            self._models[signature] = model
        return self._models[signature]

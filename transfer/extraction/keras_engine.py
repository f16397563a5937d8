"""Keras runs the frozen model, on whatever device its backend chooses."""

import math
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from transfer.backbones.resizing import resize_pixels
from transfer.backend.compiled import exact_float32, inference, refresh
from transfer.backend.devices import device_name
from transfer.errors import InputError
from transfer.images.imageset import Batch

MOST_FUNCTIONS = 8
"""Sizes of images that compiled functions are kept for, each of 10 MB and more; a set has two."""


class KerasEngine:
    """Runs a model over batches with Keras, on whatever device its backend chooses.

    The next batch is handed to the device before the results of this one are waited for. Where
    memory runs out, the batch is halved.

    Args:
        body: Model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to one output or a list.
        batch_size: Rows that the device sees at a time; fewer are padded, so that nothing is
            compiled twice. On several devices it is rounded up to a multiple of their number.
    """

    def __init__(self, body: keras.Model, batch_size: int) -> None:
        self.name = f"keras ({device_name()})"
        self.errors: list[float] = []
        self._body = body
        self._image_size: tuple[int, int] = body.input_shape[1:3]
        self._functions: dict[tuple[tuple[int, ...], str], Callable[[np.ndarray], list]] = {}
        self._devices = _devices_to_share()
        self._batch_size = self._shared(batch_size)

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[np.ndarray]]]:
        """Yields each batch with the model's outputs for it.

        Args:
            batches: Native uint8 batches are resized on the device, float32 ones come resized.

        Yields:
            The batch and one `(batch, ...)` float32 array per output of the model.

        Raises:
            InputError: If there is not even memory for one image on each device.
        """
        before: tuple[Batch, list[list] | None] | None = None
        for batch in batches:
            now = batch, self._started(batch.images)
            if before:
                yield before[0], self._finished(before[0].images, before[1])
            before = now
            del now  # it would keep the outputs on the device for a batch longer
        if before:
            yield before[0], self._finished(before[0].images, before[1])

    def weights_have_changed(self) -> None:
        """Has the model's present weights used from now on; TensorFlow and PyTorch always do."""
        for function in self._functions.values():
            refresh(function)

    def _started(self, images: np.ndarray) -> list[list] | None:
        """Outputs that may still be computed, of one piece after another; None without memory."""
        try:
            return self._compute(images)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
        return None  # once the outputs of the batch before have left the device there may be room

    def _finished(self, images: np.ndarray, started: list[list] | None) -> list[np.ndarray]:
        while True:
            try:
                pieces = started or self._compute(images)
                arrays = [
                    [keras.ops.convert_to_numpy(output) for output in piece] for piece in pieces
                ]
                return [np.concatenate(parts)[: len(images)] for parts in zip(*arrays, strict=True)]
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
            started = None
            self._halve()

    def _compute(self, images: np.ndarray) -> list[list]:
        size, function = self._batch_size, self._function_for(images)
        pieces = []
        for start in range(0, len(images), size):
            piece = images[start : start + size]
            missing = [(0, size - len(piece))] + [(0, 0)] * 3
            with exact_float32():
                pieces.append(function(np.pad(piece, missing) if missing[0][1] else piece))
        return pieces

    def _halve(self) -> None:
        if self._batch_size == self._shared(1):
            raise InputError(
                f"not even one image of {self._image_size[0]} x {self._image_size[1]} pixels fits "
                f"into the memory of {self.name}; expected room for one: take a smaller "
                "--image-size or --backbone, or close what else uses the memory"
            )
        self._batch_size = self._shared(self._batch_size / 2)
        print(f"out of memory: going on with {self._batch_size} images at a time", flush=True)

    def _shared(self, batch_size: float) -> int:
        """The least number of images, no fewer than so many, that devices can share evenly."""
        shares = max(1, len(self._devices))
        return math.ceil(batch_size / shares) * shares

    def _function_for(self, images: np.ndarray) -> Callable[[np.ndarray], list]:
        signature = (images.shape[1:], str(images.dtype))
        if signature not in self._functions:
            inputs = keras.Input(images.shape[1:], dtype=images.dtype)
            pixels = resize_pixels(inputs, self._image_size)
            # Without training=False a layer in front would turn BatchNorm on.
            model = keras.Model(inputs, self._body(pixels, training=False))
            if len(self._functions) == MOST_FUNCTIONS:
                del self._functions[next(iter(self._functions))]  # the oldest
            self._functions[signature] = inference(model, self._devices)
        return self._functions[signature]


def _devices_to_share() -> list[str]:
    """Accelerators that a batch can be spread over: Keras offers that on JAX."""
    if keras.backend.backend() != "jax":
        return []
    devices = keras.distribution.list_devices()
    return devices if len(devices) > 1 else []


_OUT_OF_MEMORY = (
    "resource_exhausted",
    "resourceexhausted",
    "outofmemory",
    "out of memory",
    "bad_alloc",
    "alloc_failed",  # cuDNN's and cuBLAS's
    "can't allocate memory",  # PyTorch's on a CPU
)


def _is_out_of_memory(error: Exception) -> bool:
    # Each backend has a class of its own for it, and JAX's is that of all its errors.
    if isinstance(error, MemoryError):
        return True
    words = f"{type(error).__name__}: {error}".lower()
    return any(sign in words for sign in _OUT_OF_MEMORY)

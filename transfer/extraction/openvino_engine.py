"""OpenVINO runs the frozen model on CPUs, up to three times as fast as Keras does there.

The package is optional; nothing here is imported where it is not asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from transfer.errors import InputError
from transfer.extraction.keras_engine import KerasEngine
from transfer.extraction.packages import import_openvino, openvino_settings
from transfer.extraction.quantization import quantized
from transfer.images.imageset import Batch
from transfer.machine.processors import processors

if TYPE_CHECKING:
    import openvino

PARITY = 1e-3
"""Largest difference from Keras's features that is let pass, as a share of their largest."""
_NOT_READ = ("jax",)
"""Backends whose exported models OpenVINO does not read (2026.4)."""
COMPARED = 8
"""Images on which the two are compared."""
LARGE = 2**25
"""Bytes of weights that no processor's caches keep from one image to the next."""
SHARING = 4
"""Images of a request to a model with so many: each weight that is fetched serves them all."""


def can_run() -> bool:
    """Whether the package is there, and reads what Keras's backend exports."""
    return find_spec("openvino") is not None and keras.backend.backend() not in _NOT_READ


def abilities() -> list[str]:
    """In what the processor computes quickly, by OpenVINO: "FP32", "BF16", "INT8" and others."""
    return sorted(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class OpenVINOEngine:
    """Runs a model over batches with OpenVINO, many requests at a time, of one image or a few.

    Each kind of batch (shape and dtype) is compared with Keras on its first images before any of
    its features is given out.

    Args:
        body: Model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to one output or a list.
        calibration: `(count, H, W, 3)` float32 pixels; if given, the model is quantized to int8 by
            what it does with them.
        bfloat16: Whether it computes in that, which processors have that were made for it.

    Attributes:
        name: Package, version, and arithmetic.
        errors: Per output, the largest difference from Keras's so far, as a share of the largest
            value.

    Raises:
        InputError: If a package is missing, OpenVINO cannot take the model, or the processor has no
            bfloat16.
    """

    def __init__(
        self, body: keras.Model, calibration: np.ndarray | None = None, bfloat16: bool = False
    ) -> None:
        self._openvino = import_openvino()
        if bfloat16:
            _check_bfloat16()
        self._body = body
        self._is_exact = calibration is None and not bfloat16
        self._settings = openvino_settings("bf16" if bfloat16 else "f32")
        self._image_size: tuple[int, int] = body.input_shape[1:3]
        self._shapes = [tuple(output.shape[1:]) for output in body.outputs]
        self._model = _exported(self._openvino, body)
        if calibration is not None:
            self._model = quantized(self._model, calibration)
        arithmetic = "bfloat16" if bfloat16 else "float32"
        if calibration is not None:
            arithmetic = f"int8, nncf {version('nncf')}"
        self.name = f"openvino {version('openvino')} (CPU, {arithmetic})"
        self.errors = [0.0] * len(self._shapes)
        self._compiled: dict[tuple[tuple[int, ...], str], _Compiled] = {}

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[np.ndarray]]]:
        """Yields each batch with the model's outputs for it.

        A batch is handed over before the one in front of it is waited for, so that the engine has
        work while the caller stores features and the next images are decoded.

        Args:
            batches: Native uint8 batches, no larger than the model wants them, are resized by
                the engine; float32 ones come resized.

        Yields:
            The batch and one `(batch, ...)` float32 array per output of the model.

        Raises:
            InputError: If features differ from Keras's by more than `PARITY`.
        """
        before: tuple[Batch, Callable[[], np.ndarray]] | None = None
        for batch in batches:
            now = batch, self._compiled_for(batch.images).start(batch.images)
            if before:
                yield before[0], self._apart(before[1]())
            before = now
        if before:
            yield before[0], self._apart(before[1]())

    def tried(self, first: Batch) -> "OpenVINOEngine":
        """This engine, once it has been compared with Keras on the first batch.

        Raises:
            InputError: As `run`.
        """
        self._compiled_for(first.images)
        return self

    def _apart(self, joined: np.ndarray) -> list[np.ndarray]:
        """The outputs of the body out of the one that the exported model has."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])
        pieces = np.split(joined, ends[:-1], axis=1)
        return [
            piece.reshape(len(joined), *shape)
            for piece, shape in zip(pieces, self._shapes, strict=True)
        ]

    def _compiled_for(self, images: np.ndarray) -> "_Compiled":
        signature = (images.shape[1:], str(images.dtype))
        if signature not in self._compiled:
            try:
                count = self._images_per_request(len(images))
                resized = _behind_resizing(self._openvino, self._model, images, count)
                model = self._openvino.Core().compile_model(resized, "CPU", self._settings)
            except Exception as error:  # of many kinds, as those of converters
                raise _not_taken(error) from error
            compiled = _Compiled(model, count)
            self._compare(compiled, images[:COMPARED])
            self._compiled[signature] = compiled
        return self._compiled[signature]

    def _images_per_request(self, batch_size: int) -> int:
        """No more than leave each processor a request of every batch."""
        if 4 * self._body.count_params() < LARGE:
            return 1
        return max(1, min(SHARING, batch_size // processors()))

    def _compare(self, compiled: "_Compiled", images: np.ndarray) -> None:
        received = self._apart(compiled.start(images)())
        batch = Batch(np.arange(len(images)), images)
        ((_, expected),) = KerasEngine(self._body, COMPARED).run([batch])
        for index, (ours, theirs) in enumerate(zip(received, expected, strict=True)):
            largest = np.abs(theirs).max() or 1.0
            error = float(np.abs(ours - theirs).max() / largest)
            if self._is_exact and not error <= PARITY:
                raise InputError(
                    f"OpenVINO's features differ from Keras's by {error:.2g} of the largest one; "
                    f"expected at most {PARITY:g}; use --engine keras"
                )
            self.errors[index] = max(self.errors[index], error)


class _Compiled:
    """A compiled model, which takes some images per request, and its idle requests."""

    def __init__(self, model: "openvino.CompiledModel", images_per_request: int) -> None:
        self.images_per_request = images_per_request
        self._model = model
        self._idle: list[openvino.InferRequest] = []

    def start(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Hands over requests for images; the array must live until what is returned was called.

        Returns:
            A function that waits for them, and gives their outputs, one row per image.
        """
        requests, count = [], self.images_per_request
        for start in range(0, len(images), count):
            piece = images[start : start + count]
            is_whole = len(piece) == count
            if not is_whole:
                piece = np.resize(piece, (count, *piece.shape[1:]))  # repeats them
            request = self._idle.pop() if self._idle else self._model.create_infer_request()
            request.start_async({0: piece}, share_inputs=is_whole)
            requests.append(request)
        return partial(self._finish, requests, len(images))

    def _finish(self, requests: list["openvino.InferRequest"], num_images: int) -> np.ndarray:
        outputs: np.ndarray | None = None
        count = self.images_per_request
        for number, request in enumerate(requests):
            request.wait()
            found = request.get_output_tensor(0).data
            if outputs is None:
                outputs = np.empty((num_images, *found.shape[1:]), found.dtype)
            place = outputs[number * count : (number + 1) * count]
            place[...] = found[: len(place)]
        self._idle.extend(requests)
        assert outputs is not None
        return outputs


def _exported(openvino: Any, body: keras.Model) -> "openvino.Model":
    """The model for one image, or any number, with all its outputs, flattened, in one.

    Several outputs would come in the order of their names, `Identity_10` before `Identity_2`.
    """
    flat = [keras.layers.Flatten(dtype="float32")(output) for output in body.outputs]
    joined = keras.layers.Concatenate(dtype="float32")(flat) if len(flat) > 1 else flat[0]
    pixels = keras.InputSpec(shape=(None, *body.input_shape[1:]), dtype="float32")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "body.xml"
        try:
            keras.Model(body.inputs, joined).export(
                str(path), format="openvino", verbose=False, input_signature=[pixels]
            )
            core = openvino.Core()
            core.set_property({"ENABLE_MMAP": False})  # the file is gone soon
            model = core.read_model(path)
            model.reshape([1, *body.input_shape[1:]])  # from PyTorch it comes without sizes
            return model
        except Exception as error:  # Converters raise whatever they meet.
            raise _not_taken(error) from error


def _check_bfloat16() -> None:
    """Refuses a processor that would compute in float32 where bfloat16 is asked for."""
    if "BF16" not in (has := abilities()):
        raise InputError(
            "--precision bfloat16 with --engine openvino expects a processor with avx512_bf16 or "
            f"AMX, received one with {', '.join(has)}; choose another --precision"
        )


def _not_taken(error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300]
    return InputError(
        f"OpenVINO cannot take this backbone ({type(error).__name__}: {reason}); use --engine keras"
    )


def _behind_resizing(
    openvino: Any, model: "openvino.Model", images: np.ndarray, count: int
) -> "openvino.Model":
    """A copy that takes so many images of this dtype and size, and enlarges them.

    It does so without antialiasing, which alters nothing there.
    """
    model = model.clone()
    model.reshape([count, *model.input(0).shape[1:]])
    height, width = images.shape[1:3]
    steps = openvino.preprocess.PrePostProcessor(model)
    pixels = steps.input()
    pixels.model().set_layout(openvino.Layout("NHWC"))
    tensor = pixels.tensor().set_layout(openvino.Layout("NHWC"))
    tensor.set_element_type(openvino.Type(images.dtype))
    tensor.set_spatial_static_shape(height, width)
    pixels.preprocess().convert_element_type(openvino.Type.f32)
    pixels.preprocess().resize(openvino.preprocess.ResizeAlgorithm.RESIZE_LINEAR)
    return steps.build()

"""Classifiers in any format behind one interface; only the runtime of the format is imported."""

import threading
from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from transfer.classifier import (
    ClassifierCard,
    as_probabilities,
    body_with_features,
    load_classifier,
)
from transfer.errors import InputError
from transfer.exporting.about import read_about
from transfer.exporting.formats import FORMATS, OUTPUTS, Format, format_of
from transfer.extraction.packages import import_without_reports, openvino_settings
from transfer.machine.processors import processors, thread_limit


class ExportedModel(Protocol):
    """A classifier in whatever format.

    Attributes:
        card: What the classifier says of itself.
    """

    card: ClassifierCard

    @abstractmethod
    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and features of images; may be called by several threads at once.

        Args:
            images: `(batch, height, width, 3)` uint8 RGB, 0-255, of any one size.

        Returns:
            `(batch, classes)` float32, of which a sigmoid gives two columns, and `(batch,
            channels)` float32, see `body_with_features`.
        """

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The probabilities alone."""
        return self.run(images)[0]


def is_exported(path: Path) -> bool:
    """Whether a path is named as a model in one of the formats other than Keras's own."""
    try:
        return format_of(path).name != "keras"
    except InputError:
        return False


def open_model(path: Path) -> ExportedModel:
    """Opens a classifier in the format that its name says, and tries it on a black image.

    Nothing in the file is run but the operations of its network.

    Args:
        path: Ends in `.keras`, `.tflite`, `.onnx` or `.xml`, or is the folder of a SavedModel.
            What `transfer export` wrote beside it must lie beside it.

    Raises:
        InputError: If it is missing, broken, or nothing of ours, or its runtime is not installed.
    """
    of = format_of(path)
    if of.name == "keras":
        return KerasModel(*load_classifier(path))
    if not path.exists():
        raise InputError(f"expected a model at {path}, found none; make one with `transfer export`")
    card = read_about(path).card
    runtime = _runtime(of)
    try:
        model = _OPENED[of.name](path, card, runtime)
        shape = model.predict(np.zeros((1, *card.image_size, 3), np.uint8)).shape
    except InputError:
        raise
    except Exception as error:  # each runtime has its own kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected a classifier that {of.runtime} can run at {path}, received one that it "
            f"cannot ({type(error).__name__}: {reason}); export it again"
        ) from None
    if shape != (1, len(card.class_names)):
        raise InputError(
            f"{path} is expected to give {len(card.class_names)} probabilities, as its .json says, "
            f"received {shape[1:]}; export it again"
        )
    return model


def _runtime(of: Format) -> Any:
    if of.name == "savedmodel":
        return None  # behind `transfer.backend`, as all of TensorFlow
    return import_without_reports(
        of.module, f"a {of.suffix} file needs", f"pip install {of.package}"
    )


def _threads() -> int:
    return thread_limit() or processors()


class KerasModel(ExportedModel):
    """A `.keras` file, as `load_classifier` gives it; any backend of Keras.

    The resizing runs by itself and the network behind it is compiled, once for all sizes.
    """

    def __init__(self, model: Any, card: ClassifierCard) -> None:
        import keras

        from transfer.backend.compiled import inference

        self.card = card
        self._as_array = keras.ops.convert_to_numpy
        body = model.get_layer("body")
        self._in_front = [layer for layer in model.layers[1:] if layer is not body]
        self._compiled = inference(body_with_features(model, card))

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `ExportedModel.run`."""
        pixels: Any = images
        for layer in self._in_front:
            pixels = layer(pixels)
        probabilities, features = map(self._as_array, self._compiled(pixels))
        return as_probabilities(probabilities), features


class OnnxModel(ExportedModel):
    """A `.onnx` file in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, card: ClassifierCard, onnxruntime: Any) -> None:
        self.card = card
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        options.intra_op_num_threads = _threads()
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        (self._input,) = (one.name for one in self._session.get_inputs())

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `ExportedModel.run`."""
        probabilities, features = self._session.run(OUTPUTS, {self._input: images})
        return probabilities, features


class OpenVINOModel(ExportedModel):
    """An `.xml` file with its `.bin` in OpenVINO, on the CPU; one image a request, many at once."""

    def __init__(self, path: Path, card: ClassifierCard, openvino: Any) -> None:
        self.card = card
        self._model = openvino.Core().compile_model(path, "CPU", openvino_settings())

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `ExportedModel.run`."""
        count = min(len(images), self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        requests = [self._model.create_infer_request() for _ in range(count)]
        found: list[list[np.ndarray]] = []
        for row in range(len(images) + count):
            request = requests[row % count]
            if row >= count:
                request.wait()
                found.append([request.get_tensor(name).data.copy() for name in OUTPUTS])
            if row < len(images):
                request.start_async({0: images[row : row + 1]}, share_inputs=True)
        probabilities, features = map(np.concatenate, zip(*found, strict=True))
        return probabilities, features


class LiteRTModel(ExportedModel):
    """A `.tflite` file in LiteRT, on the CPU; threads take turns."""

    def __init__(self, path: Path, card: ClassifierCard, litert: Any) -> None:
        self.card = card
        self._interpreter = litert.Interpreter(str(path), num_threads=_threads())
        self._input = self._interpreter.get_input_details()[0]["index"]
        named = self._interpreter.get_signature_runner().get_output_details()
        self._outputs = [named[name]["index"] for name in OUTPUTS]
        self._shape: tuple[int, ...] = ()
        self._turn = threading.Lock()

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `ExportedModel.run`."""
        with self._turn:
            if images.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, images.shape)
                self._interpreter.allocate_tensors()
                self._shape = images.shape
            self._interpreter.set_tensor(self._input, images)
            self._interpreter.invoke()
            probabilities, features = map(self._interpreter.get_tensor, self._outputs)
            return probabilities, features


class SavedModel(ExportedModel):
    """The folder of a SavedModel in TensorFlow."""

    def __init__(self, path: Path, card: ClassifierCard, _: Any) -> None:
        from transfer.backend.saved_models import load_saved_model

        self.card = card
        self._serve = load_saved_model(path)

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `ExportedModel.run`."""
        outputs = self._serve(images)
        probabilities, features = (outputs[name] for name in OUTPUTS)
        return probabilities, features


_OPENED: dict[str, Any] = {
    "savedmodel": SavedModel,
    "litert": LiteRTModel,
    "onnx": OnnxModel,
    "openvino": OpenVINOModel,
}
assert {*_OPENED, "keras"} == set(FORMATS)

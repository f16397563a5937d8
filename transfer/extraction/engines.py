"""What an engine is, and which one runs the frozen backbone."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from transfer.backend.devices import has_accelerator
from transfer.errors import InputError
from transfer.images.decoding import BadImage, resize
from transfer.images.imageset import Batch, ImageSet

if TYPE_CHECKING:
    import keras

EngineKind = Literal["auto", "keras", "openvino"]
"""What runs the frozen backbone."""
Precision = Literal["float32", "bfloat16", "int8"]
"""Arithmetic of the frozen backbone."""
WORTH_EXPORTING = 2000
"""Images from which OpenVINO makes up for the seconds that its model takes to be made."""
CALIBRATION_IMAGES = 300
"""Images from which int8 takes the ranges of activations, as many as `nncf.quantize` wants."""


class Engine(Protocol):
    """What streams batches through a frozen model.

    Attributes:
        name: What it is and what it runs on, for people.
        errors: Per output, how far it was from Keras's on the images compared, as a share of the
            largest value; empty for Keras itself.
    """

    name: str
    errors: list[float]

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[np.ndarray]]]:
        """Yields each batch with one `(batch, ...)` float32 array per output of the model."""
        ...


def build_engine(
    body: "keras.Model",
    images: ImageSet,
    first: Batch,
    batch_size: int,
    engine: EngineKind = "auto",
    precision: Precision = "float32",
    say: Callable[[str], None] = lambda text: print(f"features: {text}", flush=True),
) -> Engine:
    """Chooses and builds what runs the model.

    `"auto"` is OpenVINO for float32 on a machine without accelerator that has the package, for
    `WORTH_EXPORTING` images and more, if it reads what Keras's backend exports. The number is that
    of the whole set, so that a run that goes on has the engine of the one that was stopped.

    Args:
        body: From `build_extractor` with `precision_in_keras`, or a classifier's.
        images: The whole set; int8 is calibrated on some of its training images.
        first: The first batch that will be run, on which the engine is tried.
        batch_size: Images that a device sees at a time.
        engine: Which.
        precision: Of the features.
        say: Told why, where OpenVINO would have been taken and cannot be.

    Raises:
        InputError: If engine and precision do not go together, a package is missing, or what was
            asked for by name does not give Keras's features.
    """
    from transfer.extraction.keras_engine import KerasEngine

    check_engine(engine, precision)
    if precision == "int8":
        from transfer.extraction.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(body, calibration_images(images, body.input_shape[1:3])).tried(first)
    if engine == "openvino":
        from transfer.extraction.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(body, bfloat16=precision == "bfloat16").tried(first)
    if (engine, precision) == ("auto", "float32") and len(images) >= WORTH_EXPORTING:
        from transfer.extraction.openvino_engine import OpenVINOEngine, can_run

        if can_run() and not has_accelerator():
            try:
                return OpenVINOEngine(body).tried(first)
            except InputError as error:
                say(f"{error}; Keras takes its place")
    return KerasEngine(body, batch_size)


def in_words(engine: Engine, outputs: str = "features") -> str:
    """An engine's name, and how far it is from Keras.

    Args:
        engine: Which.
        outputs: What the model gives, for people.
    """
    if not engine.errors:
        return engine.name
    far = f"{max(engine.errors):.1g} of the largest of Keras's {outputs} on the first images"
    return f"{engine.name}, within {far}"


def default_batch_size() -> int:
    """Images that a device sees at a time where nobody says; changes speed and memory alone."""
    return 512 if has_accelerator() else 64


def check_engine(engine: EngineKind, precision: Precision) -> None:
    """Refuses what cannot be.

    Raises:
        InputError: In one line.
    """
    if precision == "int8" and engine == "keras":
        raise InputError("--precision int8 expects --engine openvino or auto, received keras")


def precision_in_keras(engine: EngineKind, precision: Precision) -> Precision:
    """In what the Keras model is built: OpenVINO takes float32, and computes in less by itself."""
    return "bfloat16" if precision == "bfloat16" and engine != "openvino" else "float32"


def calibration_images(images: ImageSet, image_size: tuple[int, int]) -> np.ndarray:
    """Training images by which int8 finds the ranges of activations, the same ones each time.

    Args:
        images: The whole set; they are from all over it.
        image_size: `(height, width)` in pixels that they are resized to.

    Returns:
        `(count, height, width, 3)` float32, 0-255.

    Raises:
        InputError: If none of them can be decoded.
    """
    rows = np.flatnonzero(images.split == "train")
    rows = rows if len(rows) else np.arange(len(images))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, CALIBRATION_IMAGES).astype(int))]
    found = [
        resize(image, image_size)
        for _, image in images.subset(rows).stream(wanted=image_size)
        if not isinstance(image, BadImage)
    ]
    if not found:
        raise InputError(f"int8 is calibrated on training images; none of {len(rows)} is readable")
    return np.stack(found)

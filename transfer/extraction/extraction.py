"""Which model and engine extract features, and features in memory for notebooks and small sets."""

import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from transfer.backbones.building import BackboneOptions, build_backbone, cut_backbone, resolve_cuts
from transfer.classifier import feature_body
from transfer.errors import InputError
from transfer.images.imageset import BadImage, Batch, ImageSet, resize

if TYPE_CHECKING:
    import keras

    from transfer.extraction.keras_engine import Engine

EngineKind = Literal["auto", "keras", "openvino"]
"""What runs the frozen backbone."""
Precision = Literal["float32", "bfloat16", "int8"]
"""Arithmetic of the frozen backbone."""
WORTH_EXPORTING = 2000
"""Images from which OpenVINO makes up for the seconds that its model takes to be made."""
CALIBRATION_IMAGES = 300
"""Images from which int8 takes the ranges of activations, as many as `nncf.quantize` wants."""


def build_extractor(
    options: BackboneOptions, precision: Precision = "float32"
) -> tuple[tuple[str, ...], "keras.Model"]:
    """Builds the frozen model that turns pixels into features.

    Args:
        options: Backbone, weights, cuts, image size, pooling, views.
        precision: With `"bfloat16"` the backbone computes in it; weights, pooling and all that
            is in front of it stay float32. What int8 changes, its engine does.

    Returns:
        Names of the cuts, and the model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to
        one float32 output per cut, `(batch, ...)`, or with several views `(batch, views, ...)`.

    Raises:
        InputError: If an option is wrong or the weights are not to be had.
    """
    with _dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32"):
        model = build_backbone(options)
        cuts = resolve_cuts(model, options)
        backbone = cut_backbone(model, cuts)
    with _dtype_policy("float32"):
        return cuts, feature_body(backbone, options)


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """A notebook's own policy must not reach the backbone, nor ours the notebook."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_engine(
    body: "keras.Model",
    images: ImageSet,
    first: Batch,
    batch_size: int,
    engine: EngineKind = "auto",
    precision: Precision = "float32",
) -> "Engine":
    """Chooses and builds what runs the model.

    `"auto"` is OpenVINO for float32 on a machine without accelerator that has the package, for
    `WORTH_EXPORTING` images and more, if it reads what Keras's backend exports. The number is that
    of the whole set, so that a run that goes on has the engine of the one that was stopped.

    Args:
        body: From `build_extractor`.
        images: The whole set; int8 is calibrated on some of its training images.
        first: The first batch that will be run, on which the engine is tried.
        batch_size: Images that a device sees at a time.
        engine: Which.
        precision: As `body` was built with.

    Raises:
        InputError: If engine and precision do not go together, a package is missing, or what was
            asked for by name does not give Keras's features.
    """
    from transfer.backend.devices import has_accelerator
    from transfer.extraction.keras_engine import KerasEngine

    check_engine(engine, precision)
    if precision == "int8":
        from transfer.extraction.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(body, _calibration(images, body.input_shape[1:3])).tried(first)
    if engine == "openvino":
        from transfer.extraction.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(body).tried(first)
    if (engine, precision) == ("auto", "float32") and len(images) >= WORTH_EXPORTING:
        from transfer.extraction.openvino_engine import OpenVINOEngine, can_run

        if can_run() and not has_accelerator():
            try:
                return OpenVINOEngine(body).tried(first)
            except InputError as error:
                print(f"features: {error}; Keras takes its place", flush=True)
    return KerasEngine(body, batch_size)


def check_engine(engine: EngineKind, precision: Precision) -> None:
    """Refuses what cannot be.

    Raises:
        InputError: In one line.
    """
    if precision == "int8" and engine == "keras":
        raise InputError("--precision int8 expects --engine openvino or auto, received keras")
    if precision == "bfloat16" and engine == "openvino":
        raise InputError("--precision bfloat16 expects --engine keras or auto, received openvino")


def _calibration(images: ImageSet, image_size: tuple[int, int]) -> np.ndarray:
    """`(count, H, W, 3)` float32: training images from all over the set, the same ones each time.

    Raises:
        InputError: If none of them can be decoded.
    """
    rows = np.flatnonzero(images.split == "train")
    rows = rows if len(rows) else np.arange(len(images))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, CALIBRATION_IMAGES).astype(int))]
    found = [
        resize(image, image_size)
        for _, image in images.subset(rows).stream()
        if not isinstance(image, BadImage)
    ]
    if not found:
        raise InputError(f"int8 is calibrated on training images; none of {len(rows)} is readable")
    return np.stack(found)


def extract(
    images: ImageSet,
    options: BackboneOptions,
    batch_size: int = 64,
    engine: EngineKind = "auto",
    precision: Precision = "float32",
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Runs the frozen backbone once over images, and keeps the features in memory.

    Args:
        images: From `load`.
        options: Backbone, weights, cuts, image size, pooling, views.
        batch_size: Images at a time.
        engine: What runs it, see `build_engine`.
        precision: Its arithmetic.
        rows: Increasing row numbers; None is all.

    Returns:
        Per cut a float32 array, `(rows, ...)`, or with several views `(rows, views, ...)`; rows
        as in `images`, views as in the options.

    Raises:
        InputError: If an image cannot be decoded, or an option is wrong.
    """
    cuts, body = build_extractor(options, precision)
    collected: dict[str, list[np.ndarray]] = {cut: [] for cut in cuts}
    batches = images.batches(batch_size, options.resolved_image_size(), rows)
    for first in batches:
        chosen = build_engine(body, images, first, batch_size, engine, precision)
        for batch, outputs in chosen.run(chain([first], batches)):
            if batch.bad:
                raise InputError(f"expected images, received a file that is none: {batch.bad[0]}")
            for cut, output in zip(cuts, outputs, strict=True):
                collected[cut].append(output)
    return {cut: np.concatenate(parts) for cut, parts in collected.items()}

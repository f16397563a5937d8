"""From a SavedModel to the files of other runtimes, in each precision."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.exporting.formats import RESIZING, FormatName, Precision
from transfer.extraction.packages import import_openvino
from transfer.extraction.quantization import quantized

Images = Sequence[np.ndarray]
"""Each `(height, width, 3)` uint8 RGB, 0-255, in its own size."""


def convert(
    name: FormatName, saved: Path, path: Path, precision: Precision, calibration: Images
) -> None:
    """Converts a SavedModel.

    Args:
        name: "litert", "onnx" or "openvino".
        saved: The SavedModel's folder.
        path: Of the file to write; OpenVINO writes a `.bin` beside it.
        precision: float16 rounds the weights, and leaves it to the runtime how to compute with
            them; int8 also has most layers compute so.
        calibration: Images by which int8 finds the ranges of activations.

    Raises:
        InputError: If a package is missing.
    """
    _CONVERTED[name](saved, path, precision, calibration)


def _litert(saved: Path, path: Path, precision: Precision, calibration: Images) -> None:
    from transfer.backend.saved_models import converted_to_litert, quantized_for_litert

    if precision == "int8":
        path.write_bytes(quantized_for_litert(saved, calibration, RESIZING))
    else:
        path.write_bytes(converted_to_litert(saved, float16=precision == "float16"))


def _onnx(saved: Path, path: Path, precision: Precision, calibration: Images) -> None:
    from transfer.backend.saved_models import converted_to_onnx
    from transfer.exporting.onnx_precision import with_float16_weights, write_int8

    model = converted_to_onnx(saved)
    if precision == "int8":
        write_int8(model, path, calibration)
    else:
        model = with_float16_weights(model) if precision == "float16" else model
        path.write_bytes(model.SerializeToString())


def _openvino(saved: Path, path: Path, precision: Precision, calibration: Images) -> None:
    openvino = import_openvino()
    model = openvino.convert_model(saved)
    (pixels,) = model.inputs
    pixels.set_names({"images"})
    if precision == "int8":
        model = quantized(model, calibration, f".*{RESIZING}.*")
    openvino.save_model(model, path, compress_to_fp16=precision == "float16")


_CONVERTED: dict[str, Callable[[Path, Path, Any, Images], None]] = {
    "litert": _litert,
    "onnx": _onnx,
    "openvino": _openvino,
}

"""Post-training quantization of a frozen model to 8-bit integers, by NNCF."""

import logging
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.errors import InputError

if TYPE_CHECKING:
    import openvino


def quantized(model: "openvino.Model", calibration: np.ndarray) -> "openvino.Model":
    """Quantizes weights and activations.

    Args:
        model: Takes `(1, H, W, 3)` float32.
        calibration: `(count, H, W, 3)` float32 pixels, such as those it will be run on.

    Raises:
        InputError: If the package is not installed.
    """
    nncf = _import_nncf()
    images = [calibration[index : index + 1] for index in range(len(calibration))]
    with redirect_stdout(StringIO()):  # it draws bars, in a pipe too
        return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))


def _import_nncf() -> Any:
    # Neither this package nor openvino shall report its use to its makers.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import nncf
    except ImportError as error:
        raise InputError(
            f"--precision int8 expects the package nncf, found none ({error}); "
            "pip install nncf openvino"
        ) from None
    nncf.set_log_level(logging.ERROR)
    return nncf

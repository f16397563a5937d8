"""Post-training quantization of a frozen model to 8-bit integers, by NNCF."""

import logging
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from transfer.extraction.packages import import_without_reports

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
    remedy = "pip install nncf openvino"
    nncf = import_without_reports("nncf", "--precision int8 expects", remedy)
    nncf.set_log_level(logging.ERROR)
    images = [calibration[index : index + 1] for index in range(len(calibration))]
    with redirect_stdout(StringIO()):  # it draws bars, in a pipe too
        return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))

"""Post-training quantization of a frozen model to 8-bit integers, by NNCF."""

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from transfer.extraction.packages import import_without_reports

if TYPE_CHECKING:
    import openvino


def quantized(
    model: "openvino.Model",
    calibration: Sequence[np.ndarray] | np.ndarray,
    exact: str | None = None,
) -> "openvino.Model":
    """Quantizes weights and activations.

    Args:
        model: Takes `(1, H, W, 3)`.
        calibration: Images `(H, W, 3)` such as those it will be run on, of its dtype.
        exact: A regular expression for names of operations that are left as they are.

    Raises:
        InputError: If the package is not installed.
    """
    remedy = "pip install nncf openvino"
    nncf = import_without_reports("nncf", "--precision int8 expects", remedy)
    nncf.set_log_level(logging.ERROR)
    images = [image[None] for image in calibration]
    ignored = nncf.IgnoredScope(patterns=[exact] if exact else [])
    with redirect_stdout(StringIO()):  # it draws bars, in a pipe too
        return nncf.quantize(
            model, nncf.Dataset(images), subset_size=len(images), ignored_scope=ignored
        )

"""Calibration: one factor for all logits, by images that the head has not seen."""

from __future__ import annotations

import numpy as np

from transfer.choosing.paths import losses_of

BOUNDS = (0.05, 20.0)


def temperature_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by which logits are to be divided, of the lowest cross-entropy.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017.

    Args:
        logits: `(images, views, classes)`, out of fold.
        labels: `(images,)`.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda exponent: losses_of(logits * np.exp(-exponent), labels).mean(),
        bounds=tuple(np.log(BOUNDS)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))

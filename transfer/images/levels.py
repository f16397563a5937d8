"""Grey values of more than 8 bits to bytes: which of them become black, which white."""

import re

import numpy as np

from transfer.errors import InputError

PERCENTILES = (1.0, 99.0)
"""Between which `percentile` spreads an image's values."""
_SPAN = re.compile(r"(-?[\d.]+(?:e-?\d+)?):(-?[\d.]+(?:e-?\d+)?)", re.IGNORECASE)


class NoFullRangeError(ValueError):
    """Values of which nobody can say what is black and what white."""


def check_window(window: str) -> None:
    """Refuses what `to_bytes` does not know.

    Raises:
        InputError: In one line.
    """
    if window in ("full", "minmax", "percentile"):
        return
    try:
        low, high = _span(window)
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise InputError(
            "--window expects full, minmax, percentile or LOW:HIGH, such as 0:4095, "
            f"received {window!r}"
        )


def to_bytes(values: np.ndarray, window: str) -> np.ndarray:
    """Maps grey values to bytes; values outside the window become black and white.

    Args:
        values: Integers or floats of any shape; what is no number becomes black.
        window: `full`: 0 is black and 65,535 white; `minmax`: the image's least and largest value;
            `percentile`: its 1st and 99th; `LOW:HIGH`.

    Returns:
        uint8 of the same shape, rounded.

    Raises:
        NoFullRangeError: If the window is `full` and the values are floats or beyond 16 bits.
    """
    # 1.0 may be white, or 255.0.
    known = not np.issubdtype(values.dtype, np.floating)
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    if window == "full":
        low, high = 0.0, 65535.0
        if not known or finite.min(initial=low) < low or finite.max(initial=high) > high:
            raise NoFullRangeError(_refusal(finite))
    elif window == "minmax":
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    elif window == "percentile":
        low, high = np.percentile(finite, PERCENTILES) if len(finite) else (0.0, 0.0)
    else:
        low, high = _span(window)
    return spread(values, float(low), float(high))


def spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps values to bytes: what is at most `low` to 0, at least `high` to 255; NaN to 0."""
    width = high - low or 1.0  # of one value alone: black
    shares = np.nan_to_num((values - low) / width, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(shares.clip(0.0, 1.0) * 255).astype(np.uint8)


def _refusal(finite: np.ndarray) -> str:
    span = f"from {finite.min():g} to {finite.max():g}" if len(finite) else "that are no numbers"
    return (
        f"expected grey values of 8 or 16 bits, received values {span}; "
        "give --window minmax, percentile or LOW:HIGH"
    )


def _span(window: str) -> tuple[float, float]:
    found = _SPAN.fullmatch(window)
    if not found:
        raise ValueError(window)
    return float(found[1]), float(found[2])

"""DICOM files to pixels, by the optional package pydicom."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.images.levels import spread, to_bytes

if TYPE_CHECKING:
    from pydicom import Dataset

_MARK, _PLACE = b"DICM", 128


def is_dicom(data: bytes) -> bool:
    """Whether a file's bytes begin as DICOM, part 10, says."""
    return data[_PLACE : _PLACE + len(_MARK)] == _MARK


def decode_dicom(data: bytes, window: str, page: int) -> np.ndarray:
    """Decodes one frame to RGB, as a viewer shows it.

    Palettes are looked up, colours converted to RGB; more than 8 bits of a colour lose the lower
    ones. Grey values go through the file's modality transform (slope and intercept, or a table).
    Under the window `full` its own window or table then says what is black and white, the first of
    several, or where it has none the whole range of its bits. MONOCHROME1 is turned around.

    Source: DICOM PS3.3, C.7.6.3 (pixels) and C.11 (modality and window tables), by pydicom.

    Args:
        data: The file's bytes.
        window: See `levels.to_bytes`.
        page: Which frame, from 1.

    Returns:
        `(height, width, 3)` uint8, RGB, pixel range 0-255.

    Raises:
        ValueError: If the package is missing, or there is no such frame.
    """
    from pydicom.pixels import pixel_array
    from pydicom.pixels.processing import apply_color_lut

    dataset = read(data)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if page > frames:
        raise ValueError(f"expected page {page}, received a file of {frames}")
    stored = pixel_array(dataset, index=page - 1)
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)[..., :3]
        return _upper_bits(colours, 8 * colours.dtype.itemsize)
    if stored.ndim == 3:
        return _upper_bits(stored, dataset.BitsStored)
    levels = _levels(stored, dataset, window)
    if kind == "MONOCHROME1":
        levels = 255 - levels
    return np.repeat(levels[..., None], 3, axis=-1)


def dicom_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels, from the head of the file.

    Raises:
        ValueError: If the package is missing, or the file is damaged.
    """
    dataset = read(data, stop_before_pixels=True)
    return int(dataset.Rows), int(dataset.Columns)


def read(data: bytes, **options: Any) -> Dataset:
    """The file as pydicom has it.

    Raises:
        ValueError: If the package is missing.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise ValueError("a DICOM file needs the package pydicom: pip install pydicom") from None
    return dcmread(BytesIO(data), **options)


def _levels(stored: np.ndarray, dataset: Dataset, window: str) -> np.ndarray:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    if window != "full":
        return to_bytes(apply_modality_lut(stored, dataset), window)
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    # What the tables make of the least and the greatest value that the file could hold is black
    # and white: the range of their outputs stands nowhere.
    both = np.concatenate([np.array(ends, stored.dtype), stored.ravel()])
    shown = apply_voi_lut(apply_modality_lut(both, dataset), dataset).astype(np.float64)
    low, high = min(shown[:2]), max(shown[:2])
    return spread(shown[2:], low, high).reshape(stored.shape)


def _upper_bits(colours: np.ndarray, bits: int) -> np.ndarray:
    return (colours >> max(0, bits - 8)).astype(np.uint8)

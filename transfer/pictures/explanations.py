"""Why an image was taken for what it was: the evidence over it, and the images most like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfer.pictures import figures

SMOOTHED = 1 / 16
"""Of the longer side: the standard deviation by which evidence is smoothed before it is drawn."""
CLEAR = 0.3
"""Share of the image's light that is left where nothing speaks for the class."""


def plot_explanation(
    image: np.ndarray,
    heat: np.ndarray | None,
    title: str,
    nearest: Sequence[tuple[str, np.ndarray | None]],
    path: Path,
) -> Path:
    """Draws an image, the evidence for a class over it, and the training images nearest to it.

    Where evidence is above its mean the image is bright and red, elsewhere dark.

    Args:
        image: `(height, width, 3)` uint8, 0-255 RGB.
        heat: `(rows, columns)` float over the same area, in any unit; None draws none.
        title: What the image was taken for.
        nearest: Ids of training images and their pixels, None where they are not at hand.
        path: Where the picture goes.

    Returns:
        The path.
    """
    panels = [(title, image)]
    if heat is not None:
        panels.append(("what speaks for it", lit(image, heat)))
    panels += [(f"near: {id}", pixels) for id, pixels in nearest if pixels is not None]
    figure = figures.make(2.5 * len(panels), 2.9)
    cells = figure.subplots(1, len(panels), squeeze=False).ravel()
    for axes, (text, pixels) in zip(cells, panels, strict=True):
        axes.imshow(pixels)
        axes.set_title(figures.shorten(text, 34), fontsize=9, parse_math=False)
        axes.axis("off")
    if missing := [id for id, pixels in nearest if pixels is None]:
        text = ", ".join(figures.shorten(id, 34) for id in missing)
        figure.supxlabel(f"near, but not at hand: {text}", fontsize=9, parse_math=False)
    return figures.save(figure, path)


def lit(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image that is dark but where evidence is above its mean, and there tinted red.

    Args:
        image: `(height, width, 3)` uint8.
        heat: `(rows, columns)` float over the same area.

    Returns:
        Of the image's shape, uint8.
    """
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(heat.astype(np.float32), SMOOTHED * max(heat.shape), mode="nearest")
    above = np.maximum(smooth - smooth.mean(), 0)
    share = above / above.max() if above.max() > 0 else above
    height, width = image.shape[:2]
    large = Image.fromarray(share).resize((width, height), Image.Resampling.BILINEAR)
    light = np.clip(np.asarray(large), 0, 1)[..., None]
    red = np.array([255, 40, 0], np.float32)
    mixed = (1 - 0.35 * light) * image + 0.35 * light * red
    return np.rint(mixed * (CLEAR + (1 - CLEAR) * np.sqrt(light))).astype(np.uint8)

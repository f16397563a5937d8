"""Features in memory, for notebooks and small sets; the stages stream them to disk instead."""

from typing import TYPE_CHECKING

import numpy as np

from transfer.backbones import BackboneOptions, build_backbone, cut_backbone, resolve_cuts
from transfer.classifier import feature_body
from transfer.errors import InputError
from transfer.images import ImageSet

if TYPE_CHECKING:
    import keras


def build_extractor(options: BackboneOptions) -> tuple[tuple[str, ...], "keras.Model"]:
    """Builds the frozen model that turns pixels into features.

    Args:
        options: Backbone, weights, cuts, image size, pooling, views.

    Returns:
        Names of the cuts, and the model from float32 `(batch, H, W, 3)` pixels, 0-255 RGB, to
        one float32 output per cut, `(batch, ...)`, or with several views `(batch, views, ...)`.

    Raises:
        InputError: If an option is wrong or the weights are not to be had.
    """
    model = build_backbone(options)
    cuts = resolve_cuts(model, options)
    return cuts, feature_body(cut_backbone(model, cuts), options)


def extract(
    images: ImageSet, options: BackboneOptions, batch_size: int = 64
) -> dict[str, np.ndarray]:
    """Runs the frozen backbone once over all images.

    Args:
        images: From `load`.
        options: Backbone, weights, cuts, image size, pooling, views.
        batch_size: Images at a time.

    Returns:
        Per cut a float32 array, `(rows, ...)`, or with several views `(rows, views, ...)`; rows
        as in `images`, views as in the options.

    Raises:
        InputError: If an image cannot be decoded, or an option is wrong.
    """
    from transfer.engines import KerasEngine

    cuts, body = build_extractor(options)
    collected: dict[str, list[np.ndarray]] = {cut: [] for cut in cuts}
    size = options.resolved_image_size()
    for batch, outputs in KerasEngine(body, batch_size).run(images.batches(batch_size, size)):
        if batch.bad:
            raise InputError(f"expected images, received a file that is none: {batch.bad[0]}")
        for cut, output in zip(cuts, outputs, strict=True):
            collected[cut].append(output)
    return {cut: np.concatenate(parts) for cut, parts in collected.items()}

"""The frozen model from pixels to features, and features in memory for notebooks and small sets."""

import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from transfer.backbones.body import feature_body
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone, resolve_cuts
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.extraction.engines import (
    EngineKind,
    Precision,
    build_engine,
    default_batch_size,
    precision_in_keras,
)
from transfer.images.imageset import ImageSet

if TYPE_CHECKING:
    import keras


def build_extractor(
    options: BackboneOptions, precision: Precision = "float32"
) -> tuple[tuple[str, ...], "keras.Model"]:
    """Builds the frozen model that turns pixels into features.

    Args:
        options: Backbone, weights, cuts, image size, pooling, views.
        precision: With `"bfloat16"` the backbone computes in it; weights, pooling and all that
            is in front of it stay float32. See `precision_in_keras`.

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


def extract(
    images: ImageSet,
    options: BackboneOptions,
    batch_size: int | None = None,
    engine: EngineKind = "auto",
    precision: Precision = "float32",
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Runs the frozen backbone once over images, and keeps the features in memory.

    Args:
        images: From `load`.
        options: Backbone, weights, cuts, image size, pooling, views.
        batch_size: Images at a time; by default 64, 512 on an accelerator.
        engine: What runs it, see `build_engine`.
        precision: Its arithmetic.
        rows: Increasing row numbers; None is all.

    Returns:
        Per cut a float32 array, `(rows, ...)`, or with several views `(rows, views, ...)`; rows
        as in `images`, views as in the options.

    Raises:
        InputError: If an image cannot be decoded, or an option is wrong.
    """
    cuts, body = build_extractor(options, precision_in_keras(engine, precision))
    collected: dict[str, list[np.ndarray]] = {cut: [] for cut in cuts}
    batch_size = batch_size or default_batch_size()
    batches = images.batches(batch_size, options.resolved_image_size(), rows)
    for first in batches:
        chosen = build_engine(body, images, first, batch_size, engine, precision)
        for batch, outputs in chosen.run(chain([first], batches)):
            if batch.bad:
                raise InputError(f"expected images, received a file that is none: {batch.bad[0]}")
            for cut, output in zip(cuts, outputs, strict=True):
                collected[cut].append(output)
    return {cut: np.concatenate(parts) for cut, parts in collected.items()}

"""What the store costs an extraction: the backbone alone against the backbone and storing."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureWriter
from tests.benchmarks.store import seal_synthetic
from tests.benchmarks.timing import seconds, summary
from tests.test_spec import SPEC
from transfer.backbones import BLOCKS, BackboneOptions
from transfer.images import ImageSet
from transfer.startup import import_keras

if TYPE_CHECKING:
    from transfer.engines import KerasEngine

REPETITIONS = 3
GOAL = 0.97
"""The store may add 3 % to an extraction."""


def storing() -> list[dict]:
    """Two fast backbones, cut at all blocks: the faster it is, the more the store weighs."""
    import_keras()
    return [
        _storing(BackboneOptions("EfficientNetLite0", image_size=160, cut=(BLOCKS,)), 1536),
        _storing(
            BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=96, cut=(BLOCKS,)), 6144
        ),
    ]


def _storing(options: BackboneOptions, num_images: int) -> dict:
    from transfer.engines import KerasEngine
    from transfer.extraction import build_extractor

    cuts, body = build_extractor(options)
    shapes = {cut: output.shape[1:] for cut, output in zip(cuts, body.outputs, strict=True)}
    images, engine = _images(num_images), KerasEngine(body, 64)
    list(engine.run(images.batches(64, body.input_shape[1:3], np.arange(64))))  # compiled
    pairs = []
    for _ in range(REPETITIONS):
        alone = seconds(lambda: _extract(engine, images, body.input_shape[1:3], None))
        with TemporaryDirectory() as folder:
            spec = replace(SPEC, cuts=cuts)
            writer = FeatureWriter(Path(folder), spec, list(images.ids), shapes)
            stored = partial(_extract, engine, images, body.input_shape[1:3], writer)
            pairs.append((alone, seconds(stored)))
    width = sum(shape[0] for shape in shapes.values())
    what = f"{num_images:,} images, {options.backbone} @{options.image_size}, {width:,} features"
    return summary(f"{what}: backbone / backbone, writing and sealing", pairs, goal=GOAL)


def _extract(
    engine: "KerasEngine", images: ImageSet, size: tuple[int, int], writer: FeatureWriter | None
) -> None:
    for batch, features in engine.run(images.batches(64, size)):
        if writer:
            writer.write(batch.rows, dict(zip(writer.datasets, features, strict=True)))
    if writer:
        seal_synthetic(writer)


def _images(count: int) -> ImageSet:
    """Noise in the size of CIFAR-10."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    ids = np.array([f"train/{row:05d}" for row in range(count)], dtype=object)
    split, rows = np.full(count, "train"), np.arange(count)
    return ImageSet(ids, rows % 10, tuple("0123456789"), split, pixels, rows)

"""Extraction as a whole against the bare engine, and what the store alone costs."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureWriter
from tests.benchmarks.store import seal_synthetic
from tests.benchmarks.timing import seconds, summary
from tests.cache.test_spec import SPEC
from tests.places import SHARED
from transfer.backbones.cuts import BLOCKS
from transfer.backbones.options import BackboneOptions
from transfer.backend.startup import import_keras
from transfer.images.imageset import Batch, ImageSet
from transfer.images.sources import DataOptions, load_as_given

if TYPE_CHECKING:
    import keras

    from transfer.extraction.engines import Engine

BATCH = 64
REPETITIONS = 3
STORE_GOAL = 0.97
"""The store may add 3 % to an extraction."""
ARRAYS_GOAL, PHOTOGRAPHS_GOAL = 0.95, 0.85
"""Least shares of the bare engine's speed."""
PASSES = 4
"""Times that each of 300 photographs is in the set."""


def storing() -> list[dict]:
    """Two fast backbones, cut at all blocks: the faster it is, the more the store weighs."""
    import_keras()
    return [
        _storing(BackboneOptions("EfficientNetLite0", image_size=160, cut=(BLOCKS,)), 1536),
        _storing(
            BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=96, cut=(BLOCKS,)), 6144
        ),
    ]


def pipeline() -> list[dict]:
    """Reading, decoding, resizing, the engine, writing and sealing against OpenVINO's engine alone.

    The latter gets random images in memory, in the size that the backbone sees. Beside small images
    in an array, photographs of some 250 pixels as JPEG files of a folder.
    """
    import_keras()
    cases = [  # so many arrays and photographs that each takes some three seconds
        (BackboneOptions("EfficientNetLite0", image_size=160), 1536, 1200),
        (BackboneOptions("EfficientNetLite0", image_size=224), 768, 600),
        (BackboneOptions("InceptionV3", "none", image_size=139), 384, 300),
        (BackboneOptions("MobileNetV2", "none", image_size=224), 768, 600),
    ]
    with _photographs() as photographs:
        return [
            row
            for options, arrays, some in cases
            for row in _pipeline(options, _noise(arrays), photographs.subset(np.arange(some)))
        ]


def _pipeline(options: BackboneOptions, arrays: ImageSet, photographs: ImageSet) -> list[dict]:
    from transfer.extraction.extraction import build_extractor
    from transfer.extraction.openvino_engine import OpenVINOEngine

    cuts, body = build_extractor(options)
    engine, size = OpenVINOEngine(body), body.input_shape[1:3]
    pixels = np.random.default_rng(0).uniform(0, 255, (BATCH, *size, 3)).astype(np.float32)

    def alone(count: int) -> float:
        """Seconds per image."""
        batches = [Batch(np.arange(BATCH), pixels)] * (count // BATCH)
        return seconds(lambda: list(engine.run(batches))) / (len(batches) * BATCH)

    rows = []
    for images, what, goal in (
        (arrays, "arrays of 32 x 32 pixels", ARRAYS_GOAL),
        (photographs, "photographs", PHOTOGRAPHS_GOAL),
    ):
        count, pairs = len(images), []
        for repetition in range(1 + REPETITIONS):
            pair = count * alone(count), _stored(engine, images, cuts, body)
            if repetition:  # in the first, requests and their memory are made
                pairs.append(pair)
        backbone = f"{options.backbone} @{size[0]}"
        rows.append(summary(f"{count:,} {what}, {backbone}: bare engine / all", pairs, goal=goal))
    return rows


def _storing(options: BackboneOptions, num_images: int) -> dict:
    from transfer.extraction.extraction import build_extractor
    from transfer.extraction.keras_engine import KerasEngine

    cuts, body = build_extractor(options)
    images, engine = _noise(num_images), KerasEngine(body, BATCH)
    size = body.input_shape[1:3]
    list(engine.run(images.batches(BATCH, size, np.arange(BATCH))))  # compiled
    pairs = []
    for _ in range(REPETITIONS):
        alone = seconds(lambda: list(engine.run(images.batches(BATCH, size))))
        pairs.append((alone, _stored(engine, images, cuts, body)))
    width = sum(output.shape[1] for output in body.outputs)
    what = f"{num_images:,} images, {options.backbone} @{options.image_size}, {width:,} features"
    return summary(f"{what}: backbone / backbone, writing and sealing", pairs, goal=STORE_GOAL)


def _stored(
    engine: "Engine", images: ImageSet, cuts: tuple[str, ...], body: "keras.Model"
) -> float:
    """Seconds of an extraction to a sealed file."""
    shapes = {cut: output.shape[1:] for cut, output in zip(cuts, body.outputs, strict=True)}
    with TemporaryDirectory() as folder:
        spec = replace(SPEC, cuts=cuts)
        writer = FeatureWriter(Path(folder), spec, list(images.ids), shapes)
        return seconds(partial(_extract, engine, images, body.input_shape[1:3], writer))


def _extract(
    engine: "Engine", images: ImageSet, size: tuple[int, int], writer: FeatureWriter
) -> None:
    for batch, features in engine.run(images.batches(BATCH, size)):
        writer.write(batch.rows, dict(zip(writer.datasets, features, strict=True)))
    seal_synthetic(writer)


def _noise(count: int) -> ImageSet:
    """Noise in the size of CIFAR-10."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    ids = np.array([f"train/{row:05d}" for row in range(count)], dtype=object)
    split, rows = np.full(count, "train"), np.arange(count)
    return ImageSet(ids, rows % 10, tuple("0123456789"), split, pixels, rows)


@contextmanager
def _photographs() -> Iterator[ImageSet]:
    """Real photographs in a folder, each several times in the set.

    Raises:
        FileNotFoundError: If they do not lie beside the project.
    """
    archive = SHARED / "cats-and-dogs.tar.xz"
    if not archive.exists():
        raise FileNotFoundError(f"the benchmark of photographs expects {archive}, found none")
    with TemporaryDirectory() as folder:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        images = load_as_given(DataOptions(f"{folder}/cats-and-dogs"))
        repeated = images
        for name in ("ids", "labels", "split", "members"):
            repeated = replace(repeated, **{name: np.tile(getattr(images, name), PASSES)})
        yield repeated

"""`--precision auto`: the fastest arithmetic whose features are as good, on some images."""

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.progress import waiting
from pipelines.results import print_table, write_json
from pipelines.setup import Setup
from transfer.backend.devices import has_accelerator
from transfer.backend.startup import import_keras
from transfer.extraction.engines import (
    EngineKind,
    Precision,
    build_engine,
    default_batch_size,
    precision_in_keras,
)
from transfer.extraction.extraction import build_extractor
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet
from transfer.images.sources import carve, groups_in
from transfer.images.splits import assign_folds

if TYPE_CHECKING:
    from transfer.choosing.judged import Judged

FEW = 2_000
"""Images for which measuring would take longer than what it could save."""
SAMPLE = 600
"""Training images on which it is measured: 5 to 10 seconds of each arithmetic."""
FOLDS = 5
WORTH = 120.0
"""Seconds that all images take in float32, below which it stays: to measure takes about as long."""
FASTER = 1.1
"""Times float32, below which nothing is gained."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What an arithmetic comes to on the sample.

    Attributes:
        precision: Arithmetic.
        engine: What computes in it.
        speed: Images a second, decoding included.
        head: The head that is chosen by itself on its features; None where it is not judged.
    """

    precision: Precision
    engine: EngineKind
    speed: float
    head: "Judged | None"


@dataclass(frozen=True)
class _Sample:
    """Some training images, in which fold each is held out, and all images."""

    some: ImageSet
    folds: np.ndarray
    images: ImageSet


def settled(setup: Setup) -> Setup:
    """The setup with an arithmetic that is known; measured where it says auto, and then remembered.

    Raises:
        InputError: If the images or options cannot be used.
    """
    if setup.precision != "auto":
        return setup
    plain = replace(setup, precision="float32")
    path = _path(plain)
    known = None if setup.rehash else _remembered(path)
    if known is None:
        known = _measured(plain)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    print(f"features: --precision auto takes {known['precision']}, {known['why']}")
    return replace(setup, precision=known["precision"], engine=known["engine"])


def _others(setup: Setup) -> list[tuple[Precision, EngineKind]]:
    """What this machine may compute faster in, beside float32."""
    if has_accelerator():
        return [("bfloat16", "keras")]
    if setup.engine == "keras" or find_spec("openvino") is None:
        return []
    from transfer.extraction.openvino_engine import abilities, can_run

    if not can_run():
        return []
    faster: list[tuple[Precision, EngineKind]] = []
    if "BF16" in abilities():
        faster.append(("bfloat16", "openvino"))
    if find_spec("nncf"):
        faster.append(("int8", "openvino"))
    return faster


def _path(plain: Setup) -> Path:
    """Where the answer of this machine, for these images and this backbone, is kept.

    Nothing is asked of Keras or OpenVINO here: what is remembered must be found without them.
    """
    packages = {name: version(name) for name in ("openvino", "nncf") if find_spec(name)}
    asked = json.dumps([plain.spec().to_json(), plain.engine, platform.node(), packages])
    digest = hashlib.sha256(asked.encode()).hexdigest()
    return plain.artifacts / "index" / f"precision-{digest[:16]}.json"


def _remembered(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {name: known[name] for name in ("precision", "engine", "why")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measured(plain: Setup) -> dict[str, Any]:
    def stays(why: str) -> dict[str, Any]:
        return {"precision": "float32", "engine": plain.engine, "why": why}

    images = plain.images()
    if len(images) < FEW:
        return stays(f"for {len(images):,} images are few")
    import_keras()
    others = _others(plain)
    if not others:
        return stays("for nothing else is faster here: see `transfer doctor`")
    sample = _sample(plain, images)
    with waiting("measuring float32"):
        first = _on_sample(plain, sample, judged_for=len(images))
    if first.head is None:
        seconds = len(images) / first.speed
        return stays(f"in which all images take {seconds:.0f} s")
    found = [first]
    for precision, engine in others:
        with waiting(f"measuring {precision}"):
            found.append(_on_sample(replace(plain, precision=precision, engine=engine), sample))
    _show(found, len(sample.some))
    good = [each for each in found if _is_good(each, first)]
    best = max(good, key=lambda each: each.speed)
    why = (
        f"{best.speed / first.speed:.2f} times as fast as float32 and as good"
        if best is not first
        else "for no other is faster and as good"
    )
    return {"precision": best.precision, "engine": best.engine, "why": why}


def _is_good(each: Measured, first: Measured) -> bool:
    if each is first:
        return True
    assert each.head
    assert first.head
    return each.speed >= FASTER * first.speed and each.head.is_as_good_as(first.head)


def _show(found: Sequence[Measured], count: int) -> None:
    from transfer.metrics import standard_error

    first = found[0].head
    rows = []
    for each in found:
        assert each.head
        assert first
        worse = each.head.losses - first.losses
        rows.append(
            [
                each.precision,
                f"{each.speed:,.0f}",
                f"{each.head.accuracy:.4f}",
                f"{each.head.loss:.4f}",
                "" if each is found[0] else f"{worse.mean():+.4f} +- {standard_error(worse):.4f}",
            ]
        )
    print_table(
        f"a head on {count:,} training images, each judged when held out",
        ["arithmetic", "images/s", "accuracy", "log loss", "against float32"],
        rows,
    )


def _sample(plain: Setup, images: ImageSet) -> _Sample:
    data = plain.data
    split = carve(images.ids, images.labels, images.class_names, images.split, data)
    training = np.random.default_rng(0).permutation(np.flatnonzero(split == "train"))
    some = _readable(images.subset(np.sort(training[:SAMPLE])), plain)
    groups = groups_in(some.ids, data)
    folds = assign_folds(some.ids, some.labels, some.class_names, FOLDS, groups)
    return _Sample(some, folds, images)


def _readable(some: ImageSet, plain: Setup) -> ImageSet:
    """Those that can be decoded; their files are then in memory, for the first arithmetic too."""
    with contextlib.suppress(BadImage):
        some.read(0)  # of a compressed archive, which would be unpacked again by each
    size = plain.backbone.resolved_image_size()
    stream = some.stream(wanted=size)
    good = [row for row, image in stream if not isinstance(image, BadImage)]
    return some if len(good) == len(some) else some.subset(np.array(good))


def _on_sample(setup: Setup, sample: _Sample, judged_for: int | None = None) -> Measured:
    """Extracts the sample's features and chooses a head on them.

    Args:
        setup: With the arithmetic.
        sample: The images.
        judged_for: A number of images, with which no head is chosen if they take less than `WORTH`.

    Raises:
        InputError: If the engine cannot be built.
    """
    from transfer.choosing.choice import choose
    from transfer.choosing.rows import Rows

    features, speed = _extracted(setup, sample)
    if judged_for is not None and judged_for < WORTH * speed:
        return Measured(setup.arithmetic, setup.engine, speed, None)
    views, some = len(setup.backbone.views), sample.some
    by_sample = [each.reshape(len(some) * views, -1) for each in features]
    every = np.ones(len(some), bool)
    rows = Rows(
        np.concatenate(by_sample, axis=1),
        some.labels,
        len(some.class_names),
        tuple(each.shape[1] for each in by_sample),
        sample.folds,
        every,
        every,
        views=views,
    )
    return Measured(setup.arithmetic, setup.engine, speed, choose(rows).chosen)


def _extracted(setup: Setup, sample: _Sample) -> tuple[list[np.ndarray], float]:
    """Per cut the features of the sample, and images a second, the faster of two times."""
    in_keras = precision_in_keras(setup.engine, setup.arithmetic)
    _, body = build_extractor(setup.backbone, in_keras)
    batch_size = setup.extract_batch_size or default_batch_size()
    size = setup.backbone.resolved_image_size()
    first = next(sample.some.batches(batch_size, size))
    engine = build_engine(body, sample.images, first, batch_size, setup.engine, setup.arithmetic)
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        outputs = [each for _, each in engine.run(sample.some.batches(batch_size, size))]
        seconds.append(time.monotonic() - started)
    cuts = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    return cuts, len(sample.some) / min(seconds)

"""Runs the backbone for rows of one entry of the store, in one process."""

import math
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from cache import FeatureSpec, FeatureWriter, find_donation
from pipelines.bad_images import BadImagesError, bad_rows
from pipelines.extracting.listing import Listed
from pipelines.progress import waiting
from pipelines.setup import Setup
from transfer.backend.startup import import_keras
from transfer.extraction.engines import (
    Engine,
    build_engine,
    default_batch_size,
    in_words,
    precision_in_keras,
)
from transfer.extraction.extraction import build_extractor
from transfer.images.imageset import Batch

COPIED_BYTES = 64 * 2**30
"""Most that are copied into one file where nobody says; it takes some minutes."""

Show = Callable[[str], AbstractContextManager]


class Extractor:
    """What turns images into the features of one entry; use it in a `with` block.

    Every process that works on the entry has one of its own. The engine is built when it is first
    needed, and once.

    Args:
        setup: Images, backbone, and where results go.
        spec: The setup's own.
        listed: The images.
        show: Shows on the terminal what is waited for.

    Attributes:
        images: All of them.
        digests: `(rows, 32)` uint8, the sha256 of each.
        cuts: Names of all cuts of the entry.
        donation: What other entries give.
        engine: What runs the backbone, None until it is needed.

    Raises:
        InputError: If the images or options cannot be used.
    """

    def __init__(
        self, setup: Setup, spec: FeatureSpec, listed: Listed, show: Show = waiting
    ) -> None:
        import_keras()
        self._setup = setup
        self._spec = spec
        self._show = show
        self._opened = ExitStack()
        self.engine: Engine | None = None
        self.images, self.digests = listed.images, listed.digests
        in_keras = precision_in_keras(setup.engine, setup.arithmetic)
        with show("building the backbone"):
            self.cuts, self._body = build_extractor(setup.backbone, in_keras)
        outputs = zip(self.cuts, self._body.outputs, strict=True)
        self._shapes = {cut: output.shape[1:] for cut, output in outputs}
        with show("looking for features in the store"):
            self.donation = find_donation(
                setup.feature_store, spec, self.images.ids, self.digests, self.cuts, self._opened
            )
        if self.donation.cuts_to_run not in ((), self.cuts):  # the layers behind need not run
            fewer = replace(setup.backbone, cut=self.donation.cuts_to_run)
            _, self._body = build_extractor(fewer, in_keras)

    def __enter__(self) -> "Extractor":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def writer(self, starts: Collection[int] | None = None) -> FeatureWriter:
        """Opens the entry to write what is missing of it.

        Args:
            starts: First rows of the parts to write; None is all.
        """
        return FeatureWriter(
            self._setup.feature_store,
            self._spec,
            self.images.ids,
            self._shapes,
            self.donation,
            self._setup.compression,
            self._refers(),
            starts,
            self.digests,
        )

    def _refers(self) -> bool:
        """Whether the sealed file will refer to its parts."""
        if self._setup.seal != "auto":
            return self._setup.seal == "reference"
        num_values = sum(math.prod(shape) for shape in self._shapes.values())
        num_bytes = np.dtype(self._spec.dtype).itemsize * num_values * len(self.images)
        return num_bytes > COPIED_BYTES and self._setup.compression == "none"

    def run(
        self,
        writer: FeatureWriter,
        say: Callable[[str], None] = lambda text: None,
        update: Callable[[int], None] = lambda done: None,
    ) -> dict[str, Any]:
        """Runs the writer's rows that are nowhere yet.

        Args:
            writer: From `writer`.
            say: Called with the engine's name, once it is built.
            update: Called with the number of rows done.

        Returns:
            Facts about the engine and its speed; empty if there were no rows.

        Raises:
            BadImagesError: If an image cannot be decoded, and the options do not set it aside.
            InputError: If the engine cannot be built.
            CacheError: If a feature cannot be stored, or the disk is full.
        """
        rows, setup, images = writer.rows_to_run, self._setup, self.images
        if not len(rows):
            return {}
        batch_size = _batch_size(setup, writer)
        # Batches end where parts end, so that a run that goes on sees the batches of one that did
        # not stop, and writes the same bytes.
        size = setup.backbone.resolved_image_size()
        batches = images.batches(batch_size, size, rows, writer.rows_per_part)
        first = next(batches)
        if self.engine is None:
            self.engine = self._built_engine(first, batch_size)
            say(in_words(self.engine))
        cuts = self.donation.cuts_to_run
        started, done = time.monotonic(), 0
        for batch, features in self.engine.run(chain([first], batches)):
            if batch.bad and setup.data.bad_images == "stop":
                raise BadImagesError(int(batch.rows[-1]) + 1, batch.bad)
            bad = bad_rows(images, batch)
            writer.write(batch.rows, dict(zip(cuts, features, strict=True)), bad)
            done += len(batch.rows)
            update(done)
        writer.wait()
        about: dict[str, Any] = {"engine": in_words(self.engine)}
        if self.engine.errors:
            about["errors_of_engine"] = dict(zip(cuts, self.engine.errors, strict=True))
        if len(rows) >= batch_size:  # less says nothing of speed
            about["images_per_second"] = round(len(rows) / (time.monotonic() - started), 1)
        return about

    def _built_engine(self, first: Batch, batch_size: int) -> Engine:
        setup = self._setup
        with self._show("building the engine"):
            return build_engine(
                self._body, self.images, first, batch_size, setup.engine, setup.arithmetic
            )


def _batch_size(setup: Setup, writer: FeatureWriter) -> int:
    size = setup.extract_batch_size or default_batch_size()
    return min(size, writer.rows_per_part)  # the rest would be padding

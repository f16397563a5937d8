"""Makes a feature file: takes from the store what is there, and runs the backbone for the rest."""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cache import DAMAGED, PARTS, FeatureSpec, FeatureWriter, entry_lock, finish_sealing
from cache.durable import remove_leftovers
from cache.store import nearest, write_about
from pipelines.bad_images import BadImagesError, refusal
from pipelines.extracting.extractor import Extractor
from pipelines.extracting.listing import list_sound_images
from pipelines.extracting.room import check_room
from pipelines.extracting.workers import run_side_by_side
from pipelines.progress import estimate, progress, waiting
from pipelines.setup import Setup
from transfer.backend.devices import has_accelerator
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.extraction.extraction import extract
from transfer.images.file_names import kinds_in_words
from transfer.images.imageset import ImageSet
from transfer.images.sources import remarks

NEAR = 2
"""A spec that differs in so few fields from one in the store may be a mistake: it is shown."""


def make_features(setup: Setup, spec: FeatureSpec, again: bool = False) -> Path:
    """Makes the feature file of a spec, or waits for another process that is making it.

    Killed at any time, the next call goes on where this one was.

    Args:
        setup: Images, backbone, and where results go.
        spec: The setup's own.
        again: Whether what there is to say of the images was said already.

    Returns:
        The path of the sealed file.

    Raises:
        InputError: If the images or options cannot be used, or there is no room; all undecodable
            images are listed.
        CacheError: If a feature cannot be stored, or the disk is full.
    """
    path = setup.feature_path(spec)
    with entry_lock(path.parent, lambda holder: print(f"features: waiting for {holder}")) as held:
        if held:
            _clear_up(path)
        if path.exists():
            return path
        if not again:
            _say_near_miss(setup, spec)
        try:
            _extract(setup, spec, again)
        except FileNotFoundError:
            # Without a lock another run may have sealed, and removed, the very same parts.
            if not path.exists():
                raise
        if held:
            _clear_up(path)  # what could be kept of a damaged file is in the new one
        return path


def _clear_up(path: Path) -> None:
    """Removes what killed runs left; only while no other run works on the entry."""
    remove_leftovers(path.parent)
    remove_leftovers(path.parent / PARTS)
    if path.exists():
        finish_sealing(path)
        shutil.rmtree(path.parent / PARTS, ignore_errors=True)
        (path.parent / DAMAGED).unlink(missing_ok=True)


def _say_near_miss(setup: Setup, spec: FeatureSpec) -> None:
    near = nearest(setup.feature_store, spec)
    if near and len(near.differences(spec)) <= NEAR:
        print(f"features: not in the store; the nearest there: {spec.differences_in_words(near)}")


def _extract(setup: Setup, spec: FeatureSpec, again: bool) -> None:
    setup = replace(setup, rehash=False)  # the spec has just read everything
    path = setup.feature_path(spec)
    started = time.monotonic()
    for remark in () if again else remarks(setup.data):
        print(f"features: {remark}")
    with ExitStack() as opened:
        listed = list_sound_images(setup, spec)
        extractor = opened.enter_context(Extractor(setup, spec, listed))
        writer = opened.enter_context(extractor.writer())
        if extractor.images.left_out and not again:
            print(f"features: left out {kinds_in_words(extractor.images.left_out)}")
        print(f"features: {check_room(writer)}")
        about = _about(setup)
        write_about(path, about)
        _say_what_is_there(writer, extractor.donation.cuts_to_run)
        if _goes_side_by_side(setup):
            about |= run_side_by_side(setup, spec, extractor.images, writer)
            writer = opened.enter_context(extractor.writer())
        about |= _run_here(setup, extractor, writer)
        _check_unchanged(setup, spec, writer)
        with waiting("sealing the file"):
            writer.seal(
                labels=extractor.images.labels,
                given_split=extractor.images.split,
                class_names=extractor.images.class_names,
                image_digests=extractor.digests,
            )
    write_about(path, about | {"seconds": round(time.monotonic() - started, 1)})


def _goes_side_by_side(setup: Setup) -> bool:
    if setup.jobs == 1:
        return False
    if setup.parallel == "loky" and has_accelerator():
        print("features: one process, for several would contend for the accelerator's memory")
        return False
    return True


def _run_here(setup: Setup, extractor: Extractor, writer: FeatureWriter) -> dict[str, Any]:
    total = len(writer.rows_to_run)
    estimated = estimate("features", total)
    with progress("features", total) as update:

        def count(done: int) -> None:
            update(done)
            estimated(done)

        try:
            return extractor.run(writer, lambda text: print(f"features: {text}", flush=True), count)
        except BadImagesError as error:
            raise refusal(extractor.images, error.stop, error.found, setup.run_folder) from None


def _say_what_is_there(writer: FeatureWriter, cuts_to_run: Sequence[str]) -> None:
    num_rows = len(writer.ids)
    resumed = num_rows - writer.num_missing
    if resumed:
        print(f"features: resuming, {resumed:,} of {num_rows:,} rows are there")
    given = num_rows - resumed - len(writer.rows_to_run)
    if given:
        print(f"features: {given:,} rows are in the store already")
    if writer.rows_to_run.size and len(cuts_to_run) < len(writer.datasets):
        there = len(writer.datasets) - len(cuts_to_run)
        print(f"features: {there} of {len(writer.datasets)} cuts are in the store already")


def _check_unchanged(setup: Setup, spec: FeatureSpec, writer: FeatureWriter) -> None:
    """Refuses features of images or weights that changed since their key was computed."""
    now = setup.spec()
    if now != spec:
        writer.remove_parts()
        raise InputError(
            f"images or weights changed while features were extracted "
            f"({now.differences_in_words(spec)}); run the same command again"
        )


def extract_rows(setup: Setup, images: ImageSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Runs the backbone for some images, and keeps nothing.

    Args:
        setup: Backbone and batch size.
        images: From `load_as_given`.
        rows: Row numbers in any order.

    Returns:
        Per cut `(len(rows), ...)` float32.

    Raises:
        InputError: If an image cannot be decoded.
    """
    import_keras()
    wanted, back = np.unique(rows, return_inverse=True)
    found = extract(
        images, setup.backbone, setup.extract_batch_size, setup.engine, setup.arithmetic, wanted
    )
    return {cut: values[back] for cut, values in found.items()}


def _about(setup: Setup) -> dict:
    """What says, to a person and to `verify --repair`, how the file was made."""
    absolute = setup.with_absolute_paths()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": asdict(absolute.data),
        "backbone": asdict(absolute.backbone),
        "storage": setup.storage,
        "compression": setup.compression,
        "seal": setup.seal,
        "precision": setup.arithmetic,
        "versions": {name: version(name) for name in ("keras", "h5py", "numpy")},
    }

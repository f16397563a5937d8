"""Makes a feature file: takes from the store what is there, and runs the backbone for the rest."""

import csv
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache import DAMAGED, PARTS, FeatureFile, FeatureSpec, FeatureWriter, entry_lock, find_donation
from cache.durable import remove_leftovers
from cache.store import nearest, write_about
from pipelines.bad_images import bad_rows, refusal
from pipelines.progress import estimate, progress, waiting
from pipelines.room import check_room
from pipelines.setup import Setup
from transfer.digests import image_digests
from transfer.errors import InputError
from transfer.images import ImageSet
from transfer.sources import carve, is_named, load_as_given
from transfer.startup import device_name, import_keras

if TYPE_CHECKING:
    import keras

NEAR = 2
"""A spec that differs in so few fields from one in the store may be a mistake: it is shown."""


def make_features(setup: Setup, spec: FeatureSpec) -> Path:
    """Makes the feature file of a spec, or waits for another process that is making it.

    Killed at any time, the next call goes on where this one was.

    Args:
        setup: Images, backbone, and where results go.
        spec: The setup's own.

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
            _list_skipped(path)
            return path
        _say_near_miss(setup, spec)
        try:
            _extract(setup, spec)
        except FileNotFoundError:
            # Without a lock another run may have sealed, and removed, the very same parts.
            if not path.exists():
                raise
        if held:
            _clear_up(path)  # what could be kept of a damaged file is in the new one
        return path


def is_made(path: Path) -> bool:
    """Whether a feature file is there, and nothing beside it that a killed run left."""
    return path.exists() and not (path.parent / PARTS).exists()


def _clear_up(path: Path) -> None:
    """Removes what killed runs left; only while no other run works on the entry."""
    remove_leftovers(path.parent)
    remove_leftovers(path.parent / PARTS)
    if path.exists():
        shutil.rmtree(path.parent / PARTS, ignore_errors=True)
        (path.parent / DAMAGED).unlink(missing_ok=True)


def _say_near_miss(setup: Setup, spec: FeatureSpec) -> None:
    near = nearest(setup.feature_store, spec)
    if near and len(near.differences(spec)) <= NEAR:
        print(f"features: not in the store; the nearest there: {spec.differences_in_words(near)}")


def _extract(setup: Setup, spec: FeatureSpec) -> None:
    import_keras()
    from transfer.extraction import build_extractor

    setup = replace(setup, rehash=False)  # the spec has just read everything
    path = setup.feature_path(spec)
    started = time.monotonic()
    with waiting("listing the images"):
        images = load_as_given(setup.data)
        # What cannot be split must not be found out after hours of extraction.
        carve(images.ids, images.labels, images.class_names, images.split, setup.data)
        digests = image_digests(images, setup.file_index(setup.data.data))
    with waiting("building the backbone"):
        cuts, body = build_extractor(setup.backbone)
        shapes = {cut: output.shape[1:] for cut, output in zip(cuts, body.outputs, strict=True)}
    about = _about(setup)
    with ExitStack() as opened:
        with waiting("looking for features in the store"):
            donation = find_donation(setup.feature_store, spec, digests, cuts, opened)
        writer = opened.enter_context(
            FeatureWriter(
                setup.feature_store, spec, list(images.ids), shapes, donation, setup.compression
            )
        )
        print(f"features: {check_room(writer)}")
        write_about(path, about)
        _say_what_is_there(writer, donation.cuts_to_run)
        if donation.cuts_to_run not in ((), cuts):  # the layers behind the last need not run
            cuts, body = build_extractor(replace(setup.backbone, cut=donation.cuts_to_run))
        speed = _run_backbone(setup, images, writer, cuts, body)
        _check_unchanged(setup, spec, writer)
        with waiting("sealing the file"):
            writer.seal(
                labels=images.labels,
                given_split=images.split.tolist(),
                class_names=images.class_names,
                image_digests=digests,
            )
    seconds = round(time.monotonic() - started, 1)
    write_about(path, about | {"images_per_second": speed, "seconds": seconds})
    _list_skipped(path)


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


def _run_backbone(
    setup: Setup,
    images: ImageSet,
    writer: FeatureWriter,
    cuts: tuple[str, ...],
    body: "keras.Model",
) -> float | None:
    """Runs the rows that are nowhere yet; returns images per second, None for less than a batch."""
    rows = writer.rows_to_run
    if not len(rows):
        return None
    from transfer.engines import KerasEngine

    engine = KerasEngine(body, setup.extract_batch_size)
    size = setup.backbone.resolved_image_size()
    # Batches end where parts end, so that a run that goes on sees the batches of one that did not
    # stop, and writes the same bytes.
    batches = images.batches(setup.extract_batch_size, size, rows, writer.rows_per_part)
    started, done = time.monotonic(), 0
    estimated = estimate("features", len(rows))
    with progress("features", len(rows)) as update:
        for batch, features in engine.run(batches):
            if batch.bad and setup.data.bad_images == "stop":
                raise refusal(images, int(batch.rows[-1]) + 1, batch.bad)
            bad = bad_rows(images, batch)
            writer.write(batch.rows, dict(zip(cuts, features, strict=True)), bad)
            done += len(batch.rows)
            update(done)
            estimated(done)
        writer.wait()
    if len(rows) < setup.extract_batch_size:
        return None
    return round(len(rows) / (time.monotonic() - started), 1)


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
    from transfer.extraction import extract

    wanted, back = np.unique(rows, return_inverse=True)
    found = extract(images.subset(wanted), setup.backbone, setup.extract_batch_size)
    return {cut: values[back] for cut, values in found.items()}


def _about(setup: Setup) -> dict:
    """What says, to a person and to `verify --repair`, how the file was made."""
    data = asdict(setup.data)
    if not is_named(setup.data):
        data["data"] = str(Path(setup.data.data).expanduser().resolve())
    backbone = asdict(setup.backbone)
    if backbone["weights"] not in ("imagenet", "none"):
        backbone["weights"] = str(Path(backbone["weights"]).resolve())
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "backbone": backbone,
        "storage": setup.storage,
        "compression": setup.compression,
        "engine": f"keras ({device_name()})",
        "versions": {name: version(name) for name in ("keras", "h5py", "numpy")},
    }


def skipped_path(path: Path) -> Path:
    """The list of images set aside, beside a feature file."""
    return path.with_name("skipped.csv")


def _list_skipped(path: Path) -> None:
    with FeatureFile(path) as features:
        skipped = features.skipped
    if skipped:
        with skipped_path(path).open("w", newline="") as file:
            csv.writer(file).writerows([("id", "reason"), *skipped])

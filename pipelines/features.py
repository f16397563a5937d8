"""The features stage: the frozen backbone once over all images, to one HDF5 file."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cache import FeatureFile, FeatureSpec, FeatureWriter
from pipelines.bad_images import bad_rows, refusal
from pipelines.progress import progress, waiting
from pipelines.setup import Setup
from transfer.images import ImageSet
from transfer.sources import load
from transfer.startup import device_name, import_keras

if TYPE_CHECKING:
    from transfer.engines import KerasEngine


@dataclass(frozen=True)
class FeaturesStage:
    """Run the frozen backbone once over all images and keep its features."""

    setup: Setup = field(default_factory=Setup)


def run(stage: FeaturesStage) -> Path:
    """Makes the feature file if it does not exist, and says where it is.

    Returns:
        The path of the file.

    Raises:
        InputError: If the images or options cannot be used; all undecodable images are listed.
    """
    spec = stage.setup.spec()
    cached = stage.setup.feature_path(spec).exists()
    with _open(stage.setup, spec) as features:
        if cached:
            print(f"features: {describe(features)}, cached in {features.path}")
        return features.path


def open_features(setup: Setup) -> FeatureFile:
    """Opens the feature file of these images and this backbone, made first if need be.

    Raises:
        InputError: As `run`.
    """
    return _open(setup, setup.spec())


def _open(setup: Setup, spec: FeatureSpec) -> FeatureFile:
    path = setup.feature_path(spec)
    if path.exists():
        return FeatureFile(path, spec.key)
    started = time.monotonic()
    images_per_second = extract(setup, spec)
    seconds = time.monotonic() - started
    features = FeatureFile(path, spec.key)
    speed = f"{seconds:.1f} s ({images_per_second:,.0f} images/s in the backbone)"
    print(f"features: {describe(features)}, made in {speed}, in {path}")
    if features.skipped:
        print(f"features: {len(features.skipped)} bad images set aside, see {skipped_path(path)}")
    return features


def describe(features: FeatureFile) -> str:
    """Rows, width and cuts of a feature file in words."""
    shapes = [features.shape(cut) for cut in features.cuts]
    if len(shapes) == 1:
        width = " x ".join(f"{size:,}" for size in shapes[0])
    else:
        width = f"{sum(shape[-1] for shape in shapes):,} from {len(shapes)} cuts"
    return f"{len(features):,} images x {width}"


def extract(setup: Setup, spec: FeatureSpec) -> float:
    """Runs the backbone over the rows that are still missing and seals the file.

    Returns:
        Images per second through the backbone, building and sealing not counted; NaN if nothing
        was left to run.
    """
    import_keras()
    from transfer.engines import KerasEngine
    from transfer.extraction import build_extractor

    with waiting("listing the images"):
        images = load(setup.data)
    with waiting("building the backbone"):
        cuts, body = build_extractor(setup.backbone)
    shapes = {cut: output.shape[1:] for cut, output in zip(cuts, body.outputs, strict=True)}
    writer = FeatureWriter(setup.feature_store, spec, len(images), shapes)
    engine = KerasEngine(body, setup.extract_batch_size)
    missing = writer.missing()
    rows_left = sum(rows.stop - rows.start for rows in missing)
    if rows_left < len(images):
        print(f"features: resuming, {len(images) - rows_left:,} of {len(images):,} rows are there")
    started = time.monotonic()
    _run_engine(engine, images, writer, cuts, setup, missing)
    images_per_second = rows_left / (time.monotonic() - started) if rows_left else float("nan")
    with waiting("sealing the file"):
        path = writer.seal(
            ids=list(images.ids),
            labels=images.labels,
            split=list(images.split),
            class_names=images.class_names,
            notes={
                "data": setup.data.data,
                "engine": f"keras ({device_name()})",
                "images_per_second": round(images_per_second, 1) if rows_left else None,
                "versions": {name: version(name) for name in ("keras", "h5py", "numpy")},
            },
        )
    _list_skipped(path)
    return images_per_second


def _run_engine(
    engine: "KerasEngine",
    images: ImageSet,
    writer: FeatureWriter,
    cuts: tuple[str, ...],
    setup: Setup,
    missing: Iterable[slice],
) -> None:
    missing = list(missing)
    size = setup.backbone.resolved_image_size()
    done = 0
    with progress("features", sum(rows.stop - rows.start for rows in missing)) as update:
        for rows in missing:
            batches = images.batches(setup.extract_batch_size, size, rows.start, rows.stop)
            for batch, features in engine.run(batches):
                if batch.bad and setup.data.bad_images == "stop":
                    raise refusal(images, batch.rows.stop, batch.bad)
                bad = bad_rows(images, batch)
                writer.write(batch.rows, dict(zip(cuts, features, strict=True)), bad)
                done += batch.rows.stop - batch.rows.start
                update(done)


def skipped_path(path: Path) -> Path:
    """The list of images set aside, beside a feature file."""
    return path.with_name("skipped.csv")


def _list_skipped(path: Path) -> None:
    import csv

    with FeatureFile(path) as features:
        skipped = features.skipped
    if skipped:
        with skipped_path(path).open("w", newline="") as file:
            csv.writer(file).writerows([("id", "reason"), *skipped])

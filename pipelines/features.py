"""The features stage: the frozen backbone once over all images, to one HDF5 file."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache import PARTS, FeatureFile, FeatureSpec
from cache.store import read_about
from pipelines.bad_images import keep_list
from pipelines.counting import counted
from pipelines.runs import check_replaced, remember
from pipelines.setup import Setup
from transfer.images.file_names import kinds_in_words
from transfer.images.sources import DataOptions, carve
from transfer.images.splits import classes_without
from transfer.images.texts import Texts
from transfer.names import shown

JUDGES = {"val": "validation", "test": "test"}
"""Splits that classes are judged by, and what their images are called."""
FEW = 3
"""Classes that are named where many could be."""


@dataclass(frozen=True)
class FeaturesStage:
    """Run the frozen backbone once over all images and keep its features."""

    setup: Setup = field(default_factory=Setup)


def run(stage: FeaturesStage) -> Path:
    """Makes the feature file if it does not exist, and says where it is.

    Returns:
        The path of the file.

    Raises:
        InputError: If the images or options cannot be used; all undecodable images are listed. If
            the run was made from other data.
    """
    check_replaced(stage.setup)
    left_out: Counter[str] = Counter()
    spec = stage.setup.spec(left_out.update)
    cached = stage.setup.feature_path(spec).exists()
    with _open(stage.setup, spec, left_out) as features:
        if cached:
            print(f"features: {describe(features)}, cached in {features.path}")
        say_unjudged("features", features, split_of(features, stage.setup.data))
        remember(stage, "features")
        return features.path


def open_features(setup: Setup, again: bool = False) -> FeatureFile:
    """Opens the feature file of these images and this backbone, made first if need be.

    Args:
        setup: Images, backbone, and where results go.
        again: Whether the stage has opened features of these images before, and said what there is
            to say of them.

    Raises:
        InputError: As `run`.
    """
    left_out: Counter[str] = Counter()
    return _open(setup, setup.spec(left_out.update), left_out, again)


def _open(
    setup: Setup, spec: FeatureSpec, left_out: Mapping[str, int], again: bool = False
) -> FeatureFile:
    path = setup.feature_path(spec)
    if _is_made(path):
        if left_out and not again:
            print(f"features: left out {kinds_in_words(left_out)}")
        features = FeatureFile(path, spec.key)
        keep_list(setup.run_folder, features.skipped)
        return features
    from pipelines.extracting.extraction import make_features  # a hit does without

    was_there = path.exists()
    started = time.monotonic()
    features = FeatureFile(make_features(setup, spec, again), spec.key)
    listed = keep_list(setup.run_folder, features.skipped)
    if was_there:
        return features
    speed = read_about(path).get("images_per_second")
    backbone = f" ({speed:,.0f} images/s in the backbone)" if speed else ""
    seconds = time.monotonic() - started
    print(f"features: {describe(features)}, made in {seconds:.1f} s{backbone}, in {path}")
    if features.skipped:
        print(f"features: {len(features.skipped)} bad images set aside, see {listed}")
    return features


def _is_made(path: Path) -> bool:
    """Whether a feature file is there, and nothing beside it that a killed run left."""
    return path.exists() and not (path.parent / PARTS).exists()


def split_of(features: FeatureFile, options: DataOptions) -> np.ndarray:
    """Which rows are for training, validation and test.

    The file knows the splits that are given; the others are carved out here, so that another
    share of validation rows needs no other file.

    Returns:
        `(rows,)` str array of `"train"`, `"val"` or `"test"`.

    Raises:
        InputError: If a class is left without training rows, or no row falls to val.
    """
    given = features.given_split
    return carve(ids_of(features), features.labels, features.class_names, given, options)


def ids_of(features: FeatureFile) -> Texts:
    """The ids as they take the least memory: of millions `features.ids` are a burden."""
    return Texts(*features.encoded_ids)


def val_is_given(features: FeatureFile) -> bool:
    """Whether the validation split was given, and is not carved out here."""
    return bool(np.any(features.given_split == "val"))


def say_unjudged(
    stage: str, features: FeatureFile, split: np.ndarray, names: tuple[str, ...] = tuple(JUDGES)
) -> None:
    """Prints a line about classes without images to judge them by, where others have some.

    Args:
        stage: Says it.
        features: Of the images.
        split: `(rows,)` of "train", "val" and "test".
        names: The splits in question.
    """
    lacks = []
    for name in names:
        lacking = classes_without(split == name, features.labels, features.class_names)
        if lacking and np.any(split == name):  # else nobody asked for such images
            few = ", ".join(map(shown, lacking[:FEW])) + ", ..." * (len(lacking) > FEW)
            lacks.append(f"{len(lacking)} have no {JUDGES[name]} image ({few})")
    if lacks:
        num_classes = len(features.class_names)
        print(f"{stage}: of {num_classes} classes {' and '.join(lacks)} and cannot be judged")


def describe(features: FeatureFile) -> str:
    """Rows, width and cuts of a feature file in words."""
    shapes = [features.shape(cut) for cut in features.cuts]
    if len(shapes) == 1:
        width = " x ".join(f"{size:,}" for size in shapes[0])
    else:
        has_views = len(features.spec.views) > 1
        views = f"{shapes[0][0]:,} x " if has_views else ""
        values = sum(math.prod(shape[has_views:]) for shape in shapes)  # some may be no vectors
        width = f"{views}{values:,} from {len(shapes)} cuts"
    return f"{counted(len(features), 'image')} x {width}"

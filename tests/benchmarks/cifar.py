"""Features of CIFAR-10 for the benchmarks of heads, extracted once and then cached."""

from functools import cache

import numpy as np

from pipelines import features as features_stage
from pipelines.heads.training import TrainingData, read_training_data
from pipelines.setup import Setup
from tests.places import SHARED
from transfer.backbones.options import BackboneOptions
from transfer.images.sources import DataOptions

WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
TOP = "out_relu"
"""The last cut: 1,280 features."""


@cache
def setup() -> Setup:
    """MobileNetV2 0.35 at 96 pixels on CIFAR-10 as JPEG, where these files lie beside the project.

    Raises:
        FileNotFoundError: If they do not; a benchmark of noise would say nothing of accuracy.
    """
    for path in (SHARED / "cifar10-jpeg.tar.xz", SHARED / WEIGHTS):
        if not path.exists():
            raise FileNotFoundError(f"the benchmarks of heads expect {path}, found none")
    backbone = BackboneOptions(
        "MobileNetV2", str(SHARED / WEIGHTS), alpha=0.35, image_size=96, cut=(TOP,)
    )
    return Setup(DataOptions(str(SHARED / "cifar10-jpeg.tar.xz")), backbone)


def options() -> list[str]:
    """The same as flags."""
    backbone = setup().backbone
    words = {
        "data": setup().data.data,
        "backbone": backbone.backbone,
        "weights": backbone.weights,
        "alpha": backbone.alpha,
        "image-size": backbone.image_size,
        "cut": TOP,
    }
    return [word for name, value in words.items() for word in (f"--{name}", str(value))]


@cache
def data() -> TrainingData:
    """45,000 training and 5,000 validation rows."""
    with features_stage.open_features(setup()) as features:
        return read_training_data(setup(), features, ())


def all_training_rows() -> tuple[np.ndarray, np.ndarray]:
    """50,000 rows of 1,280 features, and their labels."""
    with features_stage.open_features(setup()) as features:
        split = features_stage.split_of(features, setup().data)
        rows = np.flatnonzero(split != "test")
        return features.read(rows, ()), features.labels[rows]

"""The key of a feature file: pinned, canonical, and changed by every field."""

import dataclasses
import json

import pytest

from cache import FeatureSpec

SPEC = FeatureSpec(
    data="0" * 64,
    limit_per_class=None,
    val_fraction=0.1,
    test_fraction=0.1,
    bad_images="stop",
    backbone="MobileNetV2",
    weights="1" * 64,
    alpha=0.35,
    image_size=(96, 96),
    interpolation="bilinear-antialias",
    preprocessing="tf-1",
    cuts=("block_16_expand_relu", "out_relu"),
    pooling="avg",
    precision="float32",
    dtype="float32",
    keras="3.15",
    format_version=1,
)
OTHER = {
    "data": "2" * 64,
    "limit_per_class": 5,
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "bad_images": "skip",
    "backbone": "InceptionV3",
    "weights": "3" * 64,
    "alpha": 1.0,
    "image_size": (96, 97),
    "interpolation": "nearest",
    "preprocessing": "tf-2",
    "cuts": ("out_relu", "block_16_expand_relu"),
    "pooling": "max",
    "precision": "bfloat16",
    "dtype": "float16",
    "keras": "3.16",
    "format_version": 2,
}


def test_key_is_pinned():
    # A release that changes this digest would silently orphan everybody's features.
    assert SPEC.key == "47f3335c2d59e944929de5d6faaf8563006f2feedb149a243b358f7a068783d4"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(FeatureSpec)])
def test_every_field_changes_the_key(name):
    changed = dataclasses.replace(SPEC, **{name: OTHER[name]})
    assert changed.key != SPEC.key
    assert SPEC.differences(changed) == {name: (getattr(SPEC, name), OTHER[name])}


def test_json_names_every_field_and_comes_back():
    assert set(json.loads(SPEC.to_json())) == {f.name for f in dataclasses.fields(FeatureSpec)}
    assert FeatureSpec.from_json(SPEC.to_json()) == SPEC
    shuffled = json.dumps(dict(reversed(json.loads(SPEC.to_json()).items())))
    assert FeatureSpec.from_json(shuffled).key == SPEC.key


def test_foreign_json_is_refused():
    values = json.loads(SPEC.to_json())
    del values["pooling"]
    with pytest.raises(ValueError, match="pooling"):
        FeatureSpec.from_json(json.dumps(values))

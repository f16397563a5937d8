"""The key of a feature file: pinned, canonical, and changed by every field."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import FeatureSpec

SPEC = FeatureSpec(
    data="0" * 64,
    limit_per_class=None,
    bad_images="stop",
    decoding="1, window full, page 1",
    backbone="MobileNetV2",
    weights="1" * 64,
    alpha=0.35,
    image_size=(96, 96),
    interpolation="bilinear-antialias",
    preprocessing="tf-1",
    cuts=("block_16_expand_relu", "out_relu"),
    pooling="avg",
    views=("identity",),
    precision="float32",
    dtype="float32",
    keras="3.15",
    format_version=4,
)
OTHER = {
    "data": "2" * 64,
    "limit_per_class": 5,
    "bad_images": "skip",
    "decoding": "1, window minmax, page 1",
    "backbone": "InceptionV3",
    "weights": "3" * 64,
    "alpha": 1.0,
    "image_size": (96, 97),
    "interpolation": "nearest",
    "preprocessing": "tf-2",
    "cuts": ("out_relu", "block_16_expand_relu"),
    "pooling": "max",
    "views": ("identity", "flip"),
    "precision": "bfloat16",
    "dtype": "float16",
    "keras": "3.16",
    "format_version": 5,
}


def test_key_is_pinned():
    # A release that changes this digest would silently orphan everybody's features.
    assert SPEC.key == "2fdd7afcf2ba22e16d0268399ba4d4b95d20df79cf56f49e08d0fad096a950e1"


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


def test_key_is_the_same_in_every_process():
    # Another hash seed gives dictionaries and sets another order.
    program = "from tests.cache.test_spec import SPEC; print(SPEC.key)"
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == SPEC.key


@settings(max_examples=50)
@given(name=st.sampled_from(sorted(OTHER)), other=st.sampled_from(sorted(OTHER)))
def test_specs_with_the_same_key_are_equal(name, other):
    one = dataclasses.replace(SPEC, **{name: OTHER[name]})
    two = dataclasses.replace(SPEC, **{other: OTHER[other]})
    assert (one.key == two.key) == (one == two)


def test_differences_are_said_in_words():
    now = dataclasses.replace(SPEC, weights="sha256:" + "d4" * 32, image_size=(128, 128))
    assert now.differences_in_words(SPEC) == (
        "weights differ: 111111... in the cache, sha256:d4d4d4... now; "
        "image size differs: (96, 96) in the cache, (128, 128) now"
    )

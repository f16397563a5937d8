"""The notebook's way: features in memory."""

import keras
import numpy as np
import pytest

import transfer
from transfer.extraction.engines import check_engine
from transfer.extraction.extraction import build_extractor, extract


def test_a_bad_image_is_named():
    class Files:
        sequential = False

        def readers(self, members):
            for _ in members:
                yield lambda: b"no image"

    images = transfer.ImageSet(
        ids=np.array(["a.jpg"], object),
        labels=np.zeros(1, np.int64),
        class_names=("a", "b"),
        split=np.array(["train"]),
        source=Files(),
        members=np.arange(1),
    )
    options = transfer.BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)
    with pytest.raises(transfer.InputError, match=r"a\.jpg"):
        transfer.extract(images, options)


OPTIONS = transfer.BackboneOptions("EfficientNetLite0", image_size=48, cut=("blocks",))


def pictures(count=6):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 24, 24, 3), np.uint8)
    rows = np.arange(count)
    ids = np.array([str(row) for row in rows], object)
    return transfer.ImageSet(ids, rows % 2, ("a", "b"), np.full(count, "train"), pixels, rows)


def test_bfloat16_is_near_float32_and_comes_as_float32():
    exact, coarse = extract(pictures(), OPTIONS), extract(pictures(), OPTIONS, precision="bfloat16")
    assert exact.keys() == coarse.keys()
    for cut, expected in exact.items():
        found = coarse[cut]
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        difference = np.abs(found - expected).max() / np.abs(expected).max()
        assert 1e-4 < difference < 0.1, cut


def test_only_what_is_multiplied_is_bfloat16():
    _, body = build_extractor(OPTIONS, "bfloat16")
    assert {str(output.dtype) for output in body.outputs} == {"float32"}
    assert {str(weight.dtype) for weight in body.weights} == {"float32"}
    backbone = next(layer for layer in body.layers if isinstance(layer, keras.Model))
    kinds = {layer.compute_dtype for layer in backbone.layers if layer.weights}
    assert kinds == {"bfloat16"}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_a_notebook_s_own_policy_changes_no_feature(policy):
    expected = extract(pictures(), OPTIONS)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        found = extract(pictures(), OPTIONS)
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy(before)
    for cut in expected:
        np.testing.assert_array_equal(found[cut], expected[cut])


def test_some_rows_are_those_of_the_whole():
    whole, some = extract(pictures(), OPTIONS), extract(pictures(), OPTIONS, rows=np.array([1, 4]))
    for cut in whole:
        np.testing.assert_allclose(some[cut], whole[cut][[1, 4]], rtol=0, atol=1e-5)


def test_engines_and_precisions_that_do_not_go_together():
    with pytest.raises(transfer.InputError, match="--engine openvino or auto") as refused:
        check_engine("keras", "int8")
    assert "\n" not in str(refused.value)

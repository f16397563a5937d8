"""OpenVINO's engine: Keras's features, from every kind of batch, or a refusal."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.extraction.engines import build_engine
from transfer.extraction.extraction import build_extractor, extract
from transfer.extraction.keras_engine import KerasEngine
from transfer.images.decoding import resize
from transfer.images.imageset import Batch, ImageSet

pytest.importorskip("openvino")

from transfer.extraction.openvino_engine import OpenVINOEngine, abilities

RNG = np.random.default_rng(0)
OPTIONS = BackboneOptions(
    "MobileNetV2", "none", alpha=0.35, image_size=64, cut=("blocks",), views=("identity", "flip")
)
IMAGES = RNG.integers(0, 256, (10, 20, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def body():
    return build_extractor(OPTIONS)[1]


@pytest.fixture(scope="module")
def short_body():
    """The first layers, for tests of which engine is chosen: exporting takes its time."""
    return build_extractor(replace(OPTIONS, cut=("block_2_add",), views=("identity",)))[1]


@pytest.fixture(scope="module")
def engine(body):
    return OpenVINOEngine(body)


def batches(images, size=4):
    for start in range(0, len(images), size):
        rows = np.arange(start, min(start + size, len(images)))
        yield Batch(rows, images[rows])


def image_set(pixels):
    count = len(pixels)
    ids, rows = np.array([str(row) for row in range(count)], object), np.arange(count)
    split = np.array(["train"] * count)
    return ImageSet(ids, rows % 2, ("a", "b"), split, pixels, rows)


def smooth_images():
    small = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    return image_set(np.stack([resize(image, (48, 48)) for image in small]).astype(np.uint8))


def run(engine, given):
    results = list(engine.run(given))
    np.testing.assert_array_equal(
        np.concatenate([batch.rows for batch, _ in results]), np.arange(len(IMAGES))
    )
    return [
        np.concatenate(parts) for parts in zip(*(outputs for _, outputs in results), strict=True)
    ]


SIZED = {
    "smaller": IMAGES,
    "as large as the model wants them": RNG.integers(0, 256, (10, 64, 64, 3), dtype=np.uint8),
    "as large in one direction": RNG.integers(0, 256, (10, 64, 30, 3), dtype=np.uint8),
    "resized": np.stack([resize(image, (64, 64)) for image in IMAGES]),
}


@pytest.mark.parametrize("kind", SIZED)
def test_features_equal_keras_s_in_every_cut_and_view(kind, body, engine):
    expected = run(KerasEngine(body, 4), batches(SIZED[kind]))
    found = run(engine, batches(SIZED[kind]))
    assert len(found) == len(expected) > 10  # so many that their names do not sort as numbers
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert max(engine.errors) < 1e-5
    assert max(engine.errors) > 0  # measured, not assumed


def test_batches_of_several_kinds_in_one_run(body, engine):
    kinds = [*batches(IMAGES[:4]), *batches(SIZED["resized"][:4]), *batches(IMAGES[4:])]
    found = [outputs[-1] for _, outputs in engine.run(kinds)]
    expected = [outputs[-1] for _, outputs in KerasEngine(body, 4).run(kinds)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_batching_and_order_do_not_change_a_bit(engine):
    whole = run(engine, batches(IMAGES, 10))
    for size in (1, 3):
        for ours, theirs in zip(run(engine, batches(IMAGES, size)), whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_images_that_share_a_request_have_the_features_they_have_alone(short_body, monkeypatch):
    engine = OpenVINOEngine(short_body)
    alone = run(engine, batches(IMAGES, 10))
    monkeypatch.setattr("transfer.extraction.openvino_engine.LARGE", 0)
    monkeypatch.setattr("transfer.extraction.openvino_engine.processors", lambda: 1)
    for size, shared in ((10, 4), (3, 3), (1, 1)):
        engine._compiled.clear()
        for ours, theirs in zip(run(engine, batches(IMAGES, size)), alone, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        (compiled,) = engine._compiled.values()
        assert compiled.images_per_request == shared


@pytest.mark.parametrize(
    ("processors", "batch_size", "shared"), [(1, 64, 4), (16, 64, 4), (24, 64, 2), (128, 64, 1)]
)
def test_each_processor_has_a_request_of_every_batch(
    processors, batch_size, shared, engine, monkeypatch
):
    assert engine._images_per_request(batch_size) == 1  # its weights are small
    monkeypatch.setattr("transfer.extraction.openvino_engine.LARGE", 0)
    monkeypatch.setattr("transfer.extraction.openvino_engine.processors", lambda: processors)
    assert engine._images_per_request(batch_size) == shared


def test_results_outlive_the_batches_behind_them(engine):
    (_, first), *_ = results = list(engine.run(batches(IMAGES, 2)))
    kept = first[0].copy()
    list(engine.run(batches(IMAGES[::-1].copy(), 2)))
    np.testing.assert_array_equal(results[0][1][0], kept)


def check_refused_or_left_to_keras(body, reason, monkeypatch, capsys):
    """Refused where OpenVINO is asked for by name; otherwise Keras runs, and that is said."""
    monkeypatch.setattr("transfer.extraction.engines.WORTH_EXPORTING", 10)
    first = Batch(np.arange(4), IMAGES[:4])
    with pytest.raises(InputError, match=reason):
        build_engine(body, image_set(IMAGES), first, 4, "openvino")
    assert isinstance(build_engine(body, image_set(IMAGES), first, 4), KerasEngine)
    assert "Keras takes its place" in capsys.readouterr().out


def test_features_that_differ_are_refused_or_left_to_keras(short_body, monkeypatch, capsys):
    monkeypatch.setattr("transfer.extraction.openvino_engine.PARITY", 1e-9)
    reason = r"differ from Keras's by .* expected at most 1e-09"
    check_refused_or_left_to_keras(short_body, reason, monkeypatch, capsys)


def test_a_model_that_cannot_be_converted_is_refused_or_left_to_keras(
    short_body, monkeypatch, capsys
):
    def export(*_, **__):
        raise ValueError("no conversion rule for\nGelu")

    monkeypatch.setattr("keras.Model.export", export)
    reason = r"cannot take .* no conversion rule for Gelu"
    check_refused_or_left_to_keras(short_body, reason, monkeypatch, capsys)


def test_auto_takes_it_for_many_images_on_a_cpu(short_body, monkeypatch):
    first, images = Batch(np.arange(4), IMAGES[:4]), image_set(IMAGES)
    monkeypatch.setattr("transfer.extraction.engines.WORTH_EXPORTING", 10)
    assert isinstance(build_engine(short_body, images, first, 4), OpenVINOEngine)
    assert isinstance(build_engine(short_body, images, first, 4, precision="bfloat16"), KerasEngine)
    monkeypatch.setattr("transfer.extraction.engines.has_accelerator", lambda: True)
    assert isinstance(build_engine(short_body, images, first, 4), KerasEngine)
    monkeypatch.undo()
    assert isinstance(build_engine(short_body, images, first, 4), KerasEngine)  # ten are few


def test_without_the_package_auto_is_keras_and_its_name_is_refused(short_body, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("transfer.extraction.engines.WORTH_EXPORTING", 10)
    first, images = Batch(np.arange(4), IMAGES[:4]), image_set(IMAGES)
    assert isinstance(build_engine(short_body, images, first, 4), KerasEngine)
    with pytest.raises(InputError, match="pip install openvino") as refused:
        build_engine(short_body, images, first, 4, "openvino")
    assert "\n" not in str(refused.value)


def test_it_does_not_report_its_use():
    program = (
        "from transfer.extraction.openvino_engine import import_openvino; import sys;"
        "import_openvino();"
        "import openvino.tools.ovc; print(sys.modules.get('openvino_telemetry'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "None", done.stderr


def test_int8_is_near_and_the_same_each_time():
    pytest.importorskip("nncf")
    options = BackboneOptions("EfficientNetLite0", image_size=64, cut=("block3b_add",))
    images = smooth_images()
    (exact,) = extract(images, options).values()
    (first,) = extract(images, options, precision="int8").values()
    (again,) = extract(images, options, precision="int8", rows=np.arange(20, 40)).values()
    np.testing.assert_array_equal(first[20:], again)  # calibrated on the same images, not on these
    assert not np.allclose(first, exact, atol=1e-4)
    correlation = np.corrcoef(first.ravel(), exact.ravel())[0, 1]
    assert correlation > 0.97


def test_bfloat16_is_near_and_not_the_same():
    if "BF16" not in abilities():
        pytest.skip("this processor has no bfloat16")
    options = BackboneOptions("EfficientNetLite0", image_size=64, cut=("block3b_add",))
    images = smooth_images()
    (exact,) = extract(images, options).values()
    (first,) = extract(images, options, engine="openvino", precision="bfloat16").values()
    assert not np.allclose(first, exact, atol=1e-4)
    assert np.corrcoef(first.ravel(), exact.ravel())[0, 1] > 0.99
    engine = OpenVINOEngine(build_extractor(options)[1], bfloat16=True)
    assert "(CPU, bfloat16)" in engine.name


def test_a_processor_without_bfloat16_is_refused(short_body, monkeypatch):
    """It would compute in float32 and say nothing."""
    has = "transfer.extraction.openvino_engine.abilities"
    monkeypatch.setattr(has, lambda: ["FP32", "INT8"])
    with pytest.raises(InputError, match=r"avx512_bf16 or AMX, received one with FP32, INT8"):
        OpenVINOEngine(short_body, bfloat16=True)

"""Fine-tuning: what trains, what stays still, and going on after an interruption."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from transfer.backbones.options import BackboneOptions
from transfer.backend.layers import leaf_layers
from transfer.classifier import build_classifier
from transfer.errors import InputError
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers
from transfer.finetuning.image_batches import ImageBatches, common_size
from transfer.finetuning.training import finetune
from transfer.finetuning.unfreezing import unfreeze
from transfer.heads.building import build_head
from transfer.heads.options import FitOptions, HeadOptions
from transfer.images.imageset import ImageSet

OPTIONS = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)
NO_CHANGE = AugmentOptions(flip=False, shift=0, crop=0, colour=0)
FIT = FitOptions(epochs=2, batch_size=8, learning_rate=1e-3, schedule="constant")


def image_set(num_train=24, num_val=12, size=16):
    """Reddish and bluish noise."""
    rng = np.random.default_rng(0)
    rows = num_train + num_val
    labels = np.arange(rows) % 2
    pixels = rng.integers(0, 120, (rows, size, size, 3), dtype=np.uint8)
    pixels[labels == 0, ..., 0] += 100
    pixels[labels == 1, ..., 2] += 100
    return ImageSet(
        ids=np.array([f"{row:03d}" for row in range(rows)], object),
        labels=labels,
        class_names=("red", "blue"),
        split=np.array(["train"] * num_train + ["val"] * num_val),
        source=pixels,
        members=np.arange(rows),
    )


def classifier(batch_norm=True, views=("identity",)):
    """Four convolutions with batch norm, as a backbone that trains in a second."""
    pixels = x = keras.Input((32, 32, 3))
    for block in range(1, 5):
        convolution = keras.layers.Conv2D(
            8 * block, 3, strides=2, padding="same", name=f"block_{block}_conv"
        )
        x = keras.layers.BatchNormalization(name=f"block_{block}_norm")(convolution(x))
        x = keras.layers.ReLU(name=f"block_{block}_relu")(x)
    backbone = keras.Model(pixels, [x], name="backbone")
    head = build_head(
        HeadOptions(hidden=(8,), batch_norm=batch_norm), np.zeros(32), np.ones(32), (32,), 2
    )
    return build_classifier(backbone, head, replace(OPTIONS, views=views))


def batch_norms(model):
    return [layer for layer in leaf_layers(model) if "BatchNormalization" in type(layer).__name__]


def moving_averages(model):
    return [
        np.asarray(weight)
        for layer in batch_norms(model)
        for weight in (layer.moving_mean, layer.moving_variance)
    ]


def weights_of(model):
    return {weight.path: np.asarray(weight) for weight in model.weights}


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


def test_moving_averages_are_bit_identical_after_training(tmp_path):
    model = classifier()
    unfreeze(model, "all")
    before, weights = moving_averages(model), weights_of(model)
    assert len(before) == 2 * 5  # four in the backbone, one in the head
    finetune(model, image_set(), FIT, AugmentOptions(), tmp_path)
    for old, new in zip(before, moving_averages(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {path for path in changed(weights, weights_of(model)) if "conv" in path} == {
        f"block_{block}_conv/{name}" for block in range(1, 5) for name in ("kernel", "bias")
    }


@pytest.mark.parametrize("views", [("identity",), ("identity", "center+flip", "flip")])
def test_only_the_layers_asked_for_change(views, tmp_path):
    model = classifier(views=views)
    trained, layers = unfreeze(model, "block_3_conv")
    assert (trained, layers) == (2, 13)  # block 3 and 4; their batch norms stay frozen
    before = weights_of(model)
    finetune(model, image_set(), FIT, NO_CHANGE, tmp_path)
    names = {path.split("/")[-2] for path in changed(before, weights_of(model))}
    assert names == {"block_3_conv", "block_4_conv", "dense_1", "logits"}


@pytest.mark.parametrize(
    ("which", "first"),
    [("all", "block_1_conv"), ("0", None), ("3", "block_4_conv"), ("999", "block_1_conv")],
)
def test_unfreeze_counts_from_the_top(which, first):
    model = classifier()
    unfreeze(model, which)
    backbone = model.get_layer("body").get_layer("backbone")
    trainable = [layer.name for layer in backbone.layers if layer.trainable_variables]
    names = [layer.name for layer in backbone.layers]
    expected = [] if first is None else names[names.index(first) :]
    weighted = {layer.name for layer in backbone.layers if layer.weights}
    norms = {layer.name for layer in batch_norms(backbone)}
    assert trainable == [name for name in expected if name in weighted - norms]
    assert all(not layer.trainable for layer in batch_norms(model))
    assert model.get_layer("body").get_layer("head").get_layer("logits").trainable


def test_a_wrong_layer_name_lists_likely_ones():
    with pytest.raises(InputError, match=r"block_3_konv.*block_3_conv"):
        unfreeze(classifier(), "block_3_konv")


def test_it_learns_and_the_best_epoch_stays_in_the_classifier(tmp_path):
    keras.utils.set_random_seed(0)  # of the convolutions; other seeds learn it, too
    images, model = image_set(48, 24), classifier()
    unfreeze(model, "all")
    options = FitOptions(epochs=10, batch_size=8, learning_rate=3e-3, monitor="val_accuracy")
    fitted = finetune(model, images, options, NO_CHANGE, tmp_path)
    val = np.flatnonzero(images.split == "val")
    pixels = np.stack([images.read(int(row)) for row in val])
    accuracy = (model.predict(pixels, verbose=0).argmax(1) == images.labels[val]).mean()
    assert accuracy == pytest.approx(fitted.best["val_accuracy"], abs=1e-6)
    assert fitted.best["val_accuracy"] == max(fitted.history["val_accuracy"])
    assert accuracy >= 0.9
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path):
    class InterruptError(Exception):
        pass

    def interrupting(seen, scores):
        if seen > 24 + 8:  # in the second epoch
            raise InterruptError

    options = FitOptions(epochs=3, batch_size=8, learning_rate=1e-3, patience=9)
    images, weights = image_set(), None
    results = {}
    for name, reports in {"whole": [None], "resumed": [interrupting, None]}.items():
        for report in reports:
            model = classifier()
            if weights is None:
                weights = model.get_weights()
            model.set_weights(weights)
            unfreeze(model, "10")
            arguments = (model, images, options, NO_CHANGE, tmp_path / name)
            if report:
                with pytest.raises(InterruptError):
                    finetune(*arguments, report)
            else:
                results[name] = finetune(*arguments), model.get_weights()
    (whole, whole_weights), (resumed, resumed_weights) = results["whole"], results["resumed"]
    assert len(resumed.history["loss"]) == 3
    for name in whole.history:
        np.testing.assert_allclose(resumed.history[name], whole.history[name], atol=1e-5)
    for one, two in zip(whole_weights, resumed_weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_batches_hold_every_row_once_and_shuffle_anew():
    images = image_set()
    rows = np.arange(24)
    batches = ImageBatches(images, rows, rows, (32, 32), 7, seed=3)
    epochs = []
    for _ in range(2):
        parts = [batches[index] for index in range(len(batches))]
        epochs.append(np.concatenate([targets for _, targets in parts]))
        for pixels, targets in parts:
            np.testing.assert_array_equal(pixels, images.source[targets])
        batches.on_epoch_end()
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(rows)
    assert not np.array_equal(epochs[0], epochs[1])
    again = ImageBatches(images, rows, rows, (32, 32), 24, seed=3, epoch=1)
    np.testing.assert_array_equal(again[0][1], epochs[1])


def test_common_size_is_native_only_where_nothing_shrinks():
    images = image_set(size=16)
    assert common_size(images, np.arange(36), (32, 32)) == (16, 16)
    assert common_size(images, np.arange(36), (8, 32)) is None
    large = ImageBatches(images, np.arange(4), np.arange(4), (8, 8), 4)
    assert large.input_size == (8, 8)
    assert large[0][0].shape == (4, 8, 8, 3)


def test_augmentation_changes_training_images_only():
    layers = augmentation_layers(AugmentOptions(), seed=0)
    assert len(layers) == 5
    pixels = image_set().source[:8].astype("float32")
    for layer in layers:
        np.testing.assert_allclose(np.asarray(layer(pixels, training=False)), pixels, atol=1e-3)
        moved = np.asarray(layer(pixels, training=True))
        assert np.abs(moved - pixels).max() > 1
        assert moved.min() >= -1e-3
        assert moved.max() <= 255.001
    assert augmentation_layers(NO_CHANGE, seed=0) == []
    with pytest.raises(InputError, match="--shift"):
        AugmentOptions(shift=1.5)
    assert keras.backend.image_data_format() == "channels_last"

"""Training from a start: what stays still, what is learned, and going on after an interruption."""

import re

import keras
import numpy as np
import pytest

from tests.transfer.finetuning.small_classifier import (
    batch_norms,
    image_set,
    labels_for,
    seeded_classifier,
    train_on_pixels,
    tuner_of,
)
from transfer.finetuning.augmentation import AugmentOptions, augmentation_layers, mixing_layers
from transfer.finetuning.image_batches import DecodedImages, ImageBatches
from transfer.finetuning.options import FinetuneOptions
from transfer.finetuning.tuning import Batches, DivergedError

FIT = FinetuneOptions(epochs=2, batch_size=8, learning_rate=1e-2)
BLOCKS = [f"block_{block}" for block in range(1, 5)]


def weights_of(model):
    return {weight.path: np.asarray(weight) for weight in model.weights}


def layers_changed(before, model):
    after = weights_of(model)
    paths = [path for path in before if not np.array_equal(before[path], after[path])]
    return {tuple(path.split("/")[-2:]) for path in paths}


def predicted(model, images, rows):
    pixels = np.stack([images.read(int(row)) for row in rows])
    return model.predict(pixels, verbose=0)


def test_all_layers_learn_and_no_statistics(tmp_path):
    images, model = image_set(48, 24), seeded_classifier()
    before = weights_of(model)
    options = FinetuneOptions(epochs=6, batch_size=8, learning_rate=1e-2, head_rate=1.0)
    _, trained = train_on_pixels(model, images, options, tmp_path)
    pairs = {"conv": ("kernel", "bias"), "norm": ("gamma", "beta")}
    expected = {(f"{b}_{kind}", name) for b in BLOCKS for kind in pairs for name in pairs[kind]}
    of_head = {("dense_1", "kernel"), ("logits", "kernel"), ("logits", "bias")}
    # A bias in front of a norm that does not learn its statistics does matter.
    assert layers_changed(before, model) == expected | of_head
    assert len(batch_norms(model)) == 5, "one of them in the head, which stays as it is"
    val = np.flatnonzero(images.split == "val")
    assert (predicted(model, images, val).argmax(1) == images.labels[val]).mean() >= 0.9
    assert trained.history["loss"][-1] < 0.7 * trained.history["loss"][0]
    assert {len(values) for values in trained.history.values()} == {6}


def test_norms_alone_change_where_they_alone_are_to(tmp_path):
    model = seeded_classifier()
    before = weights_of(model)
    train_on_pixels(model, image_set(), FIT, tmp_path, "norm")
    expected = {(f"{block}_norm", name) for block in BLOCKS for name in ("gamma", "beta")}
    changed = layers_changed(before, model)
    assert {each for each in changed if each[0] not in ("dense_1", "logits")} == expected


def test_only_the_layers_asked_for_change_whatever_the_views(tmp_path):
    model = seeded_classifier(views=("identity", "center+flip", "flip"))
    before = weights_of(model)
    train_on_pixels(model, image_set(), FIT, tmp_path, "block_3_norm")
    names = {layer for layer, _ in layers_changed(before, model)}
    assert names == {"block_3_norm", "block_4_conv", "block_4_norm", "dense_1", "logits"}


def test_the_first_loss_is_the_cross_entropy_of_smooth_targets_by_weight(tmp_path):
    images, model = image_set(), seeded_classifier()
    rows = np.arange(20)  # the last batch is filled up
    said, labels = predicted(model, images, rows), images.labels[:20]
    targets = np.where(np.eye(2)[labels] == 1, 0.85, 0.15).astype(np.float32)
    weights = np.random.default_rng(0).uniform(0.5, 2, 20).astype(np.float32)
    losses = -(targets * np.log(said)).sum(1) * weights
    decoded = DecodedImages(images, (32, 32))
    tuner = tuner_of(model, "all", FIT, preparing=decoded.preparing_layers())
    seen = []
    tuner.train(
        lambda epoch: Batches(ImageBatches(decoded, rows, 8), targets, weights, labels, 8),
        1e-12,  # so that all batches of the epoch meet the same weights
        tmp_path,
        report=lambda step, scores: seen.append(scores["loss"]),
    )
    means = [losses[batch].mean() for batch in (slice(8), slice(8, 16), slice(16, 20))]
    np.testing.assert_allclose(seen[:3], np.cumsum(means) / [1, 2, 3], rtol=1e-4)


class InterruptError(Exception):
    pass


def test_an_interrupted_run_ends_like_an_unbroken_one(tmp_path):
    options = FinetuneOptions(epochs=3, batch_size=8, learning_rate=1e-2, accumulate=2, seed=5)
    augment = AugmentOptions(shift=0, crop=0, mixup=0.4)
    images = image_set()

    def arguments(name):
        changes, mixing = augmentation_layers(augment, 5), mixing_layers(augment, 5)
        return seeded_classifier(), images, options, tmp_path / name, "all", changes, mixing

    def stop(step, scores):
        if step == 5:  # in the middle of the second epoch of three batches
            raise InterruptError

    tuner, whole = train_on_pixels(*arguments("whole"))
    state = [np.array(each) for each in tuner.state]
    tuner.set_weights(tuner.start)
    with pytest.raises(InterruptError):
        train_on_pixels(*arguments("broken"), stop, tuner)
    keras.utils.set_random_seed(99)  # nothing else may decide
    other, broken = train_on_pixels(*arguments("broken"))
    assert list(whole.history) == list(broken.history)
    for name, values in whole.history.items():
        np.testing.assert_allclose(broken.history[name], values, atol=1e-6)
    found = [np.array(each) for each in other.state]
    for one, two in zip(whole.weights + state, broken.weights + found, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.fixture(scope="module")
def compiled():
    """One tuner, and batches for it; tests begin from its start."""
    images, rows = image_set(), np.arange(24)
    decoded = DecodedImages(images, (32, 32))
    options = FinetuneOptions(epochs=3, batch_size=8)
    tuner = tuner_of(seeded_classifier(), "all", options, 9, decoded.preparing_layers())

    def batches(epoch):
        return labels_for(ImageBatches(decoded, rows, 8, 0, epoch), images, rows, options)

    return tuner, batches


def test_one_compiled_step_serves_several_runs(compiled, tmp_path):
    tuner, batches = compiled
    runs = []
    for name in ("one", "two"):
        tuner.set_weights(tuner.start)
        runs.append(tuner.train(batches, 1e-2, tmp_path / name))
    assert runs[0].history == runs[1].history
    for one, two in zip(runs[0].weights, runs[1].weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_validation_scores_the_averages_and_training_goes_on_from_the_weights(compiled, tmp_path):
    tuner, batches = compiled
    tuner.set_weights(tuner.start)
    averages, weights = [], []

    def present():
        return [np.array(variable) for variable in tuner.variables]

    def validate():
        averages.append(present())
        return {"val_loss": float(len(averages))}

    trained = tuner.train(
        batches, 1e-2, tmp_path, validate, lambda step, scores: weights.append(present())
    )
    assert trained.history["val_loss"] == [1.0, 2.0, 3.0] and len(weights) == 9
    with np.load(tmp_path / "state.npz") as saved:
        for number, (average, last) in enumerate(zip(averages[-1], weights[-1], strict=True)):
            np.testing.assert_array_equal(trained.weights[number], average)
            np.testing.assert_array_equal(saved[f"variable_{number}"], last)
    # Of nine steps the average keeps a share of 0.8 each.
    expected = weights[0][0]
    for each in weights[1:]:
        expected = 0.8 * expected + 0.2 * each[0]
    np.testing.assert_allclose(averages[-1][0], expected, atol=1e-6)
    assert np.abs(averages[-1][0] - weights[-1][0]).max() > 1e-4


def test_a_finished_run_is_not_trained_again(compiled, tmp_path):
    tuner, batches = compiled
    tuner.set_weights(tuner.start)
    first = tuner.train(batches, 1e-2, tmp_path)
    tuner.set_weights(tuner.start)
    steps = []
    again = tuner.train(batches, 1e-2, tmp_path, report=lambda *of: steps.append(of))
    assert steps == [] and again.history == first.history
    for one, two in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_divergence_says_step_and_rate_in_one_line(compiled, tmp_path):
    tuner, batches = compiled
    tuner.set_weights(tuner.start)
    with pytest.raises(DivergedError) as caught:
        tuner.train(batches, 1e30, tmp_path)
    said = str(caught.value)
    found = re.match(r"fine-tuning diverged at step (\d+), at a rate of (\S+): expected", said)
    assert found and "\n" not in said and "--learning-rate" in said
    assert 2 <= int(found[1]) <= 3
    assert float(found[2]) == pytest.approx(caught.value.rate, rel=0.01) == pytest.approx(1e30, 1)
    assert not list(tmp_path.iterdir()), "no state that a later run would go on from"


def test_mixing_changes_the_loss_and_trains(tmp_path):
    images, model, seen = image_set(48, 24), seeded_classifier(), []
    train, val = (np.flatnonzero(images.split == name) for name in ("train", "val"))
    options = FinetuneOptions(epochs=25, batch_size=48, learning_rate=1e-2, head_rate=1.0)
    mixing = mixing_layers(AugmentOptions(mixup=0.4), seed=0)

    def note(step, scores):
        seen.append(scores["loss"])

    train_on_pixels(model, images, options, tmp_path, mixing=mixing, report=note)
    said, truth = predicted(model, images, train), images.labels[train]
    plain = -np.log(said[np.arange(48), truth]).mean()
    assert 1.2 * plain < seen[-1] < 0.9 * seen[0], "what is mixed is never sure"
    assert (predicted(model, images, val).argmax(1) == images.labels[val]).mean() >= 0.9

"""Fine-tuning: what trains, what stays still, and going on after an interruption."""

import keras
import numpy as np
import pytest

from tests.transfer.finetuning.small_classifier import batch_norms, classifier, image_set
from tests.transfer.finetuning.test_augmentation import NO_CHANGE
from transfer.finetuning.augmentation import AugmentOptions
from transfer.finetuning.training import finetune
from transfer.finetuning.unfreezing import unfreeze
from transfer.heads.options import FitOptions

FIT = FitOptions(epochs=2, batch_size=8, learning_rate=1e-3, schedule="constant")


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

"""Fitting: what is learned, which epoch is kept, how the rate falls."""

import csv
import itertools

import keras
import numpy as np
import pytest

from transfer.errors import InputError
from transfer.heads.building import build_head
from transfer.heads.features import StoredFeatures, feature_statistics
from transfer.heads.fitting import (
    Fitted,
    best_epoch,
    class_weights,
    fit_head,
    predict_head,
    refit_head,
    targets,
)
from transfer.heads.options import FitOptions, HeadOptions

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(20, 3))


def problem(num_rows, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_rows, 20)).astype(np.float32)
    labels = (features @ KERNEL + noise * rng.normal(size=(num_rows, 3))).argmax(1)
    return features, labels


def fit(options, head=HeadOptions(), num_classes=3, rows=400, noise=1.0):
    features, labels = problem(rows, noise)
    val_features, val_labels = problem(200, noise, seed=1)
    labels, val_labels = labels % num_classes, val_labels % num_classes
    mean, variance = feature_statistics(features)
    model = build_head(head, mean, variance, (20,), num_classes, options.seed)
    fitted = fit_head(model, features, labels, val_features, val_labels, options)
    return model, fitted, (val_features, val_labels)


def loss_and_accuracy(model, features, labels):
    probabilities = model.predict(features, verbose=0)
    picked = probabilities[np.arange(len(labels)), labels]
    return -np.log(picked).mean(), (probabilities.argmax(1) == labels).mean()


def test_it_learns_and_keeps_the_best_epoch():
    # Few rows, much noise and a wide head: validation gets worse long before the end.
    options = FitOptions(
        epochs=40, learning_rate=0.01, schedule="constant", patience=40, monitor="val_loss"
    )
    model, fitted, val = fit(options, HeadOptions(hidden=(64,)), rows=150, noise=3)
    losses = fitted.history["val_loss"]
    assert len(losses) == 40
    assert fitted.best_epoch == int(np.argmin(losses)) < 30
    loss, accuracy = loss_and_accuracy(model, *val)
    assert loss == pytest.approx(losses[fitted.best_epoch], abs=1e-4)
    assert accuracy == pytest.approx(fitted.best["val_accuracy"], abs=1e-6)
    assert accuracy > 0.45


def test_refitting_equals_fitting_on_the_same_rows():
    # With the same rows, seed and schedule, stopping after the best epoch is where fit_head was.
    options = FitOptions(epochs=8, learning_rate=0.01, seed=3)
    features, labels = problem(300, 3)
    statistics = feature_statistics(features)
    heads = [build_head(HeadOptions(hidden=(8,)), *statistics, (20,), 3) for _ in range(2)]
    fitted = fit_head(heads[0], features, labels, *problem(200, 3, seed=1), options)
    refit_head(heads[1], features, labels, options, fitted.best_epoch + 1)
    for one, two in zip(*(head.get_weights() for head in heads), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_it_stops_when_validation_does_not_improve():
    options = FitOptions(
        epochs=60, learning_rate=0.03, schedule="constant", patience=3, monitor="val_loss"
    )
    _, fitted, _ = fit(options, HeadOptions(hidden=(64,)), rows=150, noise=3)
    assert len(fitted.history["loss"]) == fitted.best_epoch + 1 + 3


def test_the_same_seed_gives_the_same_head():
    options = FitOptions(epochs=3, seed=7)
    head = HeadOptions(hidden=(8,), dropout=0.5)
    one, two = (fit(options, head)[0].get_weights() for _ in range(2))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)
    other = fit(FitOptions(epochs=3, seed=8), head)[0].get_weights()
    assert not np.allclose(one[-2], other[-2])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FitOptions(epochs=3, learning_rate=0.1, schedule="constant"), [0.1, 0.1, 0.1]),
        # Noted after each epoch, when the next one's rate is in force.
        (
            FitOptions(epochs=3, learning_rate=0.1, schedule="exponential", decay=0.5),
            [0.05, 0.025, 0.0125],
        ),
        (FitOptions(epochs=2, learning_rate=0.1, schedule="cosine"), [0.05, 0.0]),
        (
            FitOptions(epochs=3, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
            [0.1, 0.05, 0.0],
        ),
    ],
)
def test_schedules(options, expected):
    _, fitted, _ = fit(options)
    np.testing.assert_allclose(fitted.history["learning_rate"], expected, atol=1e-6)


def test_the_plateau_schedule_halves_the_rate():
    options = FitOptions(
        epochs=30, learning_rate=0.05, schedule="plateau", patience=30, monitor="val_loss"
    )
    _, fitted, _ = fit(options, HeadOptions(hidden=(64,)), rows=150, noise=3)
    rates = fitted.history["learning_rate"]
    assert set(np.round(np.log2(rates[0] / np.array(rates)), 4)) >= {0.0, 1.0}


def test_label_smoothing_softens_the_head():
    sharp, _, val = fit(FitOptions(epochs=30, learning_rate=0.02), noise=0)
    soft, _, _ = fit(FitOptions(epochs=30, learning_rate=0.02, label_smoothing=0.3), noise=0)
    assert soft.predict(val[0], verbose=0).max() < sharp.predict(val[0], verbose=0).max()
    one_hot = targets(np.array([0, 2]), soft, FitOptions(label_smoothing=0.3))
    np.testing.assert_array_equal(one_hot, [[1, 0, 0], [0, 0, 1]])


def test_a_sigmoid_head_learns_two_classes():
    model, fitted, (features, labels) = fit(
        FitOptions(epochs=20, learning_rate=0.02), HeadOptions(output="sigmoid"), num_classes=2
    )
    accuracy = ((model.predict(features, verbose=0)[:, 0] > 0.5) == labels).mean()
    assert accuracy == pytest.approx(fitted.best["val_accuracy"], abs=1e-6)
    assert accuracy > 0.6


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_lowers_the_loss(optimizer):
    options = FitOptions(epochs=6, learning_rate=0.01, optimizer=optimizer, weight_decay=0.01)
    _, fitted, _ = fit(options)
    assert fitted.history["loss"][-1] < fitted.history["loss"][0] - 0.05


def test_class_weights_equal_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 10 + [1] * 3 + [2] * 7)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    weights = class_weights(labels, 3, FitOptions(class_weights="balanced"))
    np.testing.assert_allclose([weights[index] for index in range(3)], expected)
    assert class_weights(labels, 3, FitOptions()) is None


def test_class_weights_help_the_rare_class():
    features, labels = problem(600, noise=2)
    keep = (labels != 2) | (np.arange(600) % 10 == 0)
    features, labels = features[keep], labels[keep]
    val = problem(600, noise=2, seed=1)
    mean, variance = feature_statistics(features)
    recall = {}
    for weights in ("none", "balanced"):
        head = build_head(HeadOptions(), mean, variance, (20,), 3)
        fit_head(
            head, features, labels, *val, FitOptions(learning_rate=0.01, class_weights=weights)
        )
        rare = val[1] == 2
        recall[weights] = (head.predict(val[0][rare], verbose=0).argmax(1) == 2).mean()
    assert recall["balanced"] > recall["none"] + 0.1


def test_no_validation_rows_is_an_error():
    features, labels = problem(10)
    head = build_head(HeadOptions(), *feature_statistics(features), (20,), 3)
    with pytest.raises(InputError, match="--val-fraction"):
        fit_head(head, features, labels, features[:0], labels[:0], FitOptions())


def test_history_as_csv(tmp_path):
    history = {"loss": [0.5, 0.25], "val_loss": [0.75, 0.125]}
    Fitted(history, 1, "val_loss").save_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"epoch": "1", "loss": "0.5", "val_loss": "0.75"},
            {"epoch": "2", "loss": "0.25", "val_loss": "0.125"},
        ]


def test_the_first_of_equal_epochs_is_the_best():
    assert best_epoch([0.5, 0.9, 0.9], "val_accuracy") == 1
    assert best_epoch([0.5, 0.1, 0.1], "val_loss") == 1


def test_an_epoch_without_a_number_is_never_the_best():
    assert best_epoch([0.5, 0.1, np.nan, np.nan], "val_loss") == 1
    assert best_epoch([np.nan, 0.5, 0.9, np.nan], "val_accuracy") == 2


def test_training_rows_reach_the_model_shuffled():
    # Sorted labels in one batch order would leave the last class on top; shuffling mends it.
    features, labels = problem(900, noise=0)
    order = np.argsort(labels)
    head = build_head(HeadOptions(), *feature_statistics(features), (20,), 3)
    options = FitOptions(epochs=2, batch_size=16, learning_rate=0.02)
    fit_head(head, features[order], labels[order], *problem(200, 0, seed=1), options)
    assert loss_and_accuracy(head, *problem(200, 0, seed=2))[1] > 0.8
    assert keras.config.floatx() == "float32"


def on_disk(features, rows_per_buffer=400, read=None):
    read = read or features.__getitem__
    row_bytes = 4 * features.shape[1]
    return StoredFeatures(
        read,
        np.arange(len(features)),
        features.shape[1:],
        block_rows=20,
        buffer_bytes=rows_per_buffer * row_bytes,
    )


def sorted_problem(num_rows, seed=0):
    features, labels = problem(num_rows, seed=seed)
    order = np.argsort(labels, kind="stable")
    return features[order], labels[order]


def test_streaming_from_disk_is_as_good_as_memory_where_rows_are_sorted_by_class():
    features, labels = sorted_problem(4000)
    val_features, val_labels = sorted_problem(2000, seed=1)
    features, val_features = features.astype(np.float16), val_features.astype(np.float16)
    best = {}
    for name, place, shuffle in [
        ("memory", np.asarray, True),
        ("disk", on_disk, True),
        ("disk in order", on_disk, False),
    ]:
        # A constant rate, so that the order of the last steps is seen in the result.
        options = FitOptions(
            epochs=6, batch_size=32, learning_rate=0.02, schedule="constant", shuffle=shuffle
        )
        statistics = feature_statistics(place(features))
        head = build_head(HeadOptions(), *statistics, (20,), 3)
        fitted = fit_head(head, place(features), labels, place(val_features), val_labels, options)
        best[name] = fitted.best
        accuracy = loss_and_accuracy(head, val_features, val_labels)[1]
        assert accuracy == pytest.approx(fitted.best["val_accuracy"], abs=1e-6)
    assert best["disk"]["val_accuracy"] > best["memory"]["val_accuracy"] - 0.02
    assert best["disk"]["val_loss"] < best["memory"]["val_loss"] + 0.03
    assert best["disk in order"]["val_accuracy"] < best["memory"]["val_accuracy"] - 0.05


def test_refitting_from_disk_equals_fitting_from_disk():
    options = FitOptions(epochs=5, learning_rate=0.01, seed=3, class_weights="balanced")
    features, labels = sorted_problem(1500)
    statistics = feature_statistics(features)
    heads = [build_head(HeadOptions(), *statistics, (20,), 3) for _ in range(2)]
    fitted = fit_head(heads[0], on_disk(features), labels, *problem(200, seed=1), options)
    refit_head(heads[1], on_disk(features), labels, options, fitted.best_epoch + 1)
    for one, two in zip(*(head.get_weights() for head in heads), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_predictions_are_those_of_the_model_in_order(output):
    features, _ = problem(3000)
    head = build_head(HeadOptions(output=output), *feature_statistics(features), (20,), 2)
    expected = head.predict(features, verbose=0)
    asked = []

    def read(rows):
        asked.append(len(rows))
        return features[rows]

    for place in (features, on_disk(features, read=read)):
        received = predict_head(head, place)
        assert received.dtype == np.float32
        np.testing.assert_allclose(received, expected, atol=1e-6)
    assert sum(asked) >= 3000 and max(asked) <= 400
    assert predict_head(head, features[:0]).shape == (0, expected.shape[1])


@pytest.mark.parametrize("failing", ["train", "val"])
def test_what_reading_raises_in_training_is_raised_as_it_is(failing):
    features, labels = problem(1000)
    reads = itertools.count(1)

    def read(rows):
        # Keras reads the first batches in this thread; later TensorFlow is in between.
        if next(reads) > 6:
            raise InputError("some rows are damaged")
        return features[rows]

    sound, damaged = on_disk(features), on_disk(features, read=read)
    head = build_head(HeadOptions(), *feature_statistics(sound), (20,), 3)
    train, val = (damaged, sound) if failing == "train" else (sound, damaged)
    with pytest.raises(InputError, match="some rows are damaged"):
        fit_head(head, train, labels, val, labels, FitOptions(epochs=5))

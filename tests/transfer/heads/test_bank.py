"""The bank: each of its heads is what it would be alone.

Compiling takes most of the time: many tests share the sizes of `LINEAR`, so that theirs are
compiled once.
"""

import functools
import io
import json
import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.metrics import accuracy_score

import transfer.heads.bank
import transfer.heads.chunks
from tests.transfer.heads.test_stacked import kept_by_numpy
from transfer.classifier import as_probabilities
from transfer.errors import InputError
from transfer.heads.bank import COLUMNS, Design, HeadBank
from transfer.heads.batches import ShuffledBatches
from transfer.heads.building import build_head
from transfer.heads.features import StoredFeatures, feature_blocks, feature_statistics
from transfer.heads.fitting import best_epoch, fit_head, refit_head
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples

KERNEL = np.random.default_rng(0).normal(size=(12, 3))
ROWS, BATCH, EPOCHS = 790, 16, 5
"""50 batches an epoch, the last of 6 rows; 250 steps in all."""


def problem(num_rows, seed=0, noise=8.0):
    rng = np.random.default_rng(seed)
    features = (3 * rng.normal(size=(num_rows, 12)) + 2).astype(np.float32)
    # Features of zeros, with which batches are filled up, are of the first class: that would show.
    scores = features @ KERNEL + [6, 0, 0] + noise * rng.normal(size=(num_rows, 3))
    return features, scores.argmax(1)


FEATURES, LABELS = problem(ROWS)
VAL_FEATURES, VAL_LABELS = problem(200, seed=1)
STATISTICS = feature_statistics(FEATURES)
TRAIN, VAL = Samples(FEATURES, LABELS), Samples(VAL_FEATURES, VAL_LABELS)


def design(seed=0, head=None, **fit):
    defaults = {"epochs": EPOCHS, "batch_size": BATCH, "patience": 99, "learning_rate": 0.01}
    return Design(HeadOptions(**head or {}), FitOptions(**{**defaults, "seed": seed, **fit}))


def new_bank(designs, num_classes=3, seed=0, shape=(12,), statistics=STATISTICS):
    return HeadBank(designs, *statistics, shape, num_classes, seed)


def bank_of(designs, train=TRAIN, val=VAL, epochs=EPOCHS, **options):
    bank = new_bank(designs, **options)
    bank.fit(train, val, epochs)
    return bank


def keras_head(one, num_classes=3, shape=(12,), statistics=STATISTICS):
    return build_head(one.head, *statistics, shape, num_classes, one.fit.seed)


def alone(one, head=None, features=FEATURES, labels=LABELS):
    """The same head by Keras's own layers, losses, optimizers and schedules; its history."""
    head, history = head or keras_head(one), []
    options = replace(one.fit, seed=0)  # that of the order of the rows: the bank's
    refit_head(head, features, labels, options, EPOCHS, lambda _, scores: history.append(scores))
    return head, history


def last_weights(bank, place):
    """What a head has learned, then its moving statistics."""
    state = bank.state()
    return [
        stack[place]
        for prefix in ("weights.", "moving.")
        for name, stack in state.items()
        if name.startswith(prefix)
    ]


def keras_weights(head):
    norms = [layer for layer in head.layers if isinstance(layer, keras.layers.BatchNormalization)]
    variables = [
        *head.trainable_variables,
        *(variable for norm in norms for variable in norm.non_trainable_variables),
    ]
    return [ops.convert_to_numpy(variable).T for variable in variables]


def check_equal(found, expected, tolerance, what=""):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=what)


def check_trained_alike(bank, number, head, history):
    """The bank's head, nothing dropped or stopped, has Keras's weights, losses and accuracies."""
    check_equal(last_weights(bank, number), keras_weights(head), 1e-4)
    # Where two classes are about as probable, rounding decides: a row or two.
    for column, tolerance in (("loss", 2e-4), ("accuracy", 2.5 / ROWS)):
        expected = [row[column] for row in history]
        np.testing.assert_allclose(bank.history[number][column], expected, rtol=0, atol=tolerance)


def check_same_course(found, expected, tolerance):
    """Two histories of a head."""
    for column in COLUMNS:
        np.testing.assert_allclose(
            found[column], expected[column], rtol=tolerance, atol=1e-6, err_msg=column
        )


def check_same_state(bank, other):
    """Bit for bit; only the time that it took may differ."""
    state, expected = bank.state(), other.state()
    assert list(state) == list(expected)
    for name in state:
        if name != "seconds":
            np.testing.assert_array_equal(state[name], expected[name], err_msg=name)
    assert bank.history == other.history


LINEAR = [
    design(0, {"l2": 0.01}, schedule="constant", beta_1=0.8, learning_rate=0.03),
    design(1, {"l2": 0.0}, weight_decay=0.1, beta_2=0.99, optimizer="adamw", epochs=7),
    design(2, {"l2": 0.01}, schedule="constant", learning_rate=0.1),
    design(3, {"l2": 0.0}, schedule="exponential", label_smoothing=0.1),
    design(4, {"l2": 0.1}, schedule="plateau", patience=6, monitor="val_loss", learning_rate=0.3),
]
NORMED = {"hidden": (8, 5), "batch_norm": True, "activation": "gelu", "l2": 0.001}
HIDDEN, SGD = {"hidden": (8,), "l2": 0.01}, {"optimizer": "sgd"}
SMOOTHED = {"label_smoothing": 0.2, "learning_rate": 0.005}
DECAYED = {"weight_decay": 0.05, "learning_rate": 0.01}
DROPPING = [(3, 0.2), (4, 0.5), (5, 0.35)]
KINDS = {
    "linear, adam": LINEAR,
    "linear, sgd": [
        design(0, {"l2": 0.02}, **SGD, **DECAYED, schedule="constant"),
        design(1, {"l2": 0.0}, **SGD, **SMOOTHED, momentum=0.0, warmup_epochs=1.5),
        *(design(seed, **SGD, momentum=0.5) for seed in (2, 3, 4)),
    ],
    "hidden, rmsprop": [
        design(3, HIDDEN, optimizer="rmsprop", learning_rate=0.003),
        design(4, HIDDEN, optimizer="rmsprop", weight_decay=0.02, **SMOOTHED),
    ],
    "deep with batch norm, adamw": [
        design(7, NORMED, optimizer="adamw", schedule="exponential", decay=0.7, **DECAYED),
        design(8, NORMED, **SMOOTHED),
    ],
    "dropout, sgd": [
        design(seed, {**HIDDEN, "dropout": share}, **SGD, **DECAYED) for seed, share in DROPPING
    ],
    "dropout, adamw": [
        design(seed, {**HIDDEN, "dropout": share}, optimizer="adamw", **DECAYED)
        for seed, share in DROPPING
    ],
}
COMPARED = [
    *(("linear, adam", number) for number in (0, 1)),
    *(("linear, sgd", number) for number in (0, 1)),
    ("hidden, rmsprop", 1),
    ("deep with batch norm, adamw", 0),
]


@functools.cache
def trained(kind):
    return bank_of(KINDS[kind])


@pytest.mark.parametrize(("kind", "number"), COMPARED)
def test_each_head_equals_the_same_head_trained_alone(kind, number):
    head, history = alone(KINDS[kind][number])
    check_trained_alike(trained(kind), number, head, history)


class Masks(keras.layers.Layer):
    """Stands in for a dropout layer: multiplies by given masks, another at each step."""

    def __init__(self, masks):
        super().__init__()
        self._masks = ops.convert_to_tensor(masks.astype(np.float32))
        self._step = self.add_weight(dtype="int32", initializer="zeros", trainable=False)

    def call(self, units, training=False):
        if not training:
            return units
        mask = ops.take(self._masks, self._step, axis=0)
        self._step.assign_add(1)
        return units * mask[: ops.shape(units)[0]]


def with_masks(one, steps):
    """The Keras head, with the masks of the bank instead of its dropout layers."""
    head, share, layer = keras_head(one), one.head.dropout, 0
    units = head.inputs[0]
    for known in head.layers[1:]:
        if isinstance(known, keras.layers.Dropout):
            size = (BATCH, units.shape[-1])
            masks = [kept_by_numpy(one.fit.seed, share, step, layer, *size) for step in steps]
            known, layer = Masks(np.stack(masks) / (1 - share)), layer + 1
        units = known(units)
    assert layer == 1 + len(one.head.hidden)
    return keras.Model(head.inputs, units)


@pytest.mark.parametrize("kind", ["dropout, sgd", "dropout, adamw"])
def test_with_dropout_a_head_equals_keras_with_the_same_masks(kind):
    one = KINDS[kind][1]
    head, history = alone(one, with_masks(one, range(250)))
    check_trained_alike(trained(kind), 1, head, history)


def test_with_dropout_a_head_is_the_same_alone_and_at_any_place_among_others():
    designs, bank = KINDS["dropout, adamw"], trained("dropout, adamw")
    single, turned = bank_of(designs[:1]), bank_of(designs[::-1])
    check_equal(last_weights(single, 0), last_weights(bank, 0), 1e-4)
    for place in range(3):
        check_equal(last_weights(turned, 2 - place), last_weights(bank, place), 1e-4)


def linear(**fit):
    return [replace(one, fit=replace(one.fit, **fit)) for one in LINEAR]


@functools.cache
def trained_linear():
    return bank_of(linear(epochs=8), epochs=8)


def scores(head, val, views=1):
    """Loss and accuracy of the mean over the views of each image."""
    features = np.concatenate(list(feature_blocks(val.features))).astype(np.float32)
    outputs = as_probabilities(ops.convert_to_numpy(head(features))).astype(np.float64)
    outputs = np.stack([outputs[view::views] for view in range(views)]).mean(0)
    labels = val.labels[::views]
    picked = outputs[np.arange(len(labels)), labels]
    # Keras and the bank count no probability as less than this.
    return -np.log(np.maximum(picked, 1e-7)).mean(), accuracy_score(labels, outputs.argmax(1))


def check_best(bank, numbers, val=VAL, views=1):
    """`head` gives each head's best epoch, and that scores what the history says."""
    for number in numbers:
        fitted, monitor = bank.fitted(number), bank.designs[number].fit.monitor
        column = np.array(fitted.history[monitor])
        best = np.flatnonzero(column == (column.max() if "acc" in monitor else column.min()))[0]
        assert fitted.best_epoch == best
        loss, accuracy = scores(bank.head(number), val, views)
        assert loss == pytest.approx(fitted.history["val_loss"][best], abs=2e-5)
        assert accuracy == pytest.approx(fitted.history["val_accuracy"][best], abs=1e-9)


@pytest.mark.parametrize("kind", ["linear, sgd", "deep with batch norm, adamw"])
def test_a_head_is_that_of_its_best_epoch(kind):
    bank = trained(kind)
    check_best(bank, range(len(bank.designs)))
    assert {len(values) for of_head in bank.history for values in of_head.values()} == {EPOCHS}


def expected_epochs(fit, history):
    """By the rule: no epoch after `patience` ones without a better, none after the last."""
    values = np.array(history[fit.monitor]) * (-1 if fit.monitor == "val_loss" else 1)
    for done in range(1, len(values) + 1):
        if done - 1 - values[:done].argmax() >= fit.patience or done >= fit.epochs:
            return done
    return len(values)


def test_each_head_stops_by_its_own_patience_and_keeps_its_best_epoch():
    # Constant rates: how far a schedule goes would else change with the epochs.
    def designs(patience, epochs):
        return [
            replace(one, fit=replace(one.fit, patience=waits, epochs=last))
            for one, waits, last in zip(linear(schedule="constant"), patience, epochs, strict=True)
        ]

    unstopped = bank_of(designs([99] * 5, [99] * 5), epochs=12)
    bank, sizes = new_bank(designs([1, 2, 4, 3, 2], [99, 99, 99, 6, 99])), []
    bank.fit(TRAIN, VAL, 12, lambda epoch: sizes.append((epoch, len(bank.state()["weights.0"]))))
    lengths = [
        expected_epochs(one.fit, history)
        for one, history in zip(bank.designs, unstopped.history, strict=True)
    ]
    assert len(set(lengths)) >= 3 and max(lengths) < 12
    for number, length in enumerate(lengths):
        for column in COLUMNS:
            found, reference = bank.history[number][column], unstopped.history[number][column]
            assert len(found) == length, (number, column)
            np.testing.assert_allclose(found, reference[:length], rtol=1e-4, atol=1e-6)
    # Stopped heads stay in the stacks until a quarter of what is there has stopped.
    size = 5
    for epoch, found in sizes:
        training = sum(length >= epoch for length in lengths)
        size = training if training <= 0.75 * size else size
        assert found == size, (epoch, lengths)
    assert bank.epochs_done == len(sizes) == max(lengths)
    assert (bank.seconds > 0).all() and bank.seconds.argmax() == np.argmax(lengths)
    check_best(bank, range(5))


def test_heads_of_other_lengths_end_at_their_own_last_epoch():
    # 5 heads, then 3, as many as are compiled anyway; each follows the schedule of its length.
    lengths = [2, 8, 1, 8, 8]
    designs = [
        replace(one, fit=replace(one.fit, epochs=epochs, patience=99))
        for one, epochs in zip(LINEAR, lengths, strict=True)
    ]
    bank = bank_of(designs, epochs=8)
    assert [len(history["loss"]) for history in bank.history] == lengths
    assert bank.history[1]["learning_rate"][-1] == 0  # a cosine's end
    single = bank_of([designs[1]], epochs=8)
    check_equal(last_weights(single, 0), last_weights(bank, 0), 1e-4)
    check_same_course(single.history[0], bank.history[1], 1e-4)
    before = json.dumps(bank.history)
    bank.fit(TRAIN, VAL, 30)
    assert bank.epochs_done == 8 and json.dumps(bank.history) == before


def test_a_head_that_diverges_stops_and_changes_nothing_for_the_others():
    sound, expected = KINDS["linear, sgd"], trained("linear, sgd")
    bad = design(1, {"l2": 0.01}, optimizer="sgd", learning_rate=1e10)
    bank = bank_of([*sound[:2], bad, *sound[3:]])
    assert bank.state()["places"].tolist() == [0, 1, 2, 3, 4]  # one of five: not worth shrinking
    for place in (0, 1, 3, 4):
        assert bank.history[place] == expected.history[place]
        for one, two in zip(last_weights(bank, place), last_weights(expected, place), strict=True):
            np.testing.assert_array_equal(one, two)
    stopped = bank.history[2]
    assert {len(values) for values in stopped.values()} == {1}
    assert stopped["loss"] == stopped["val_loss"] == [np.inf]
    assert not any(np.isnan(values).any() for values in stopped.values())


def test_rows_that_fill_up_batches_do_no_harm():
    # Far from zero: a row of zeros would be 100 deviations away, and its loss infinite.
    rng = np.random.default_rng(0)
    features = rng.normal(100, 1, (100, 12)).astype(np.float32)
    labels, val_rows = rng.integers(0, 3, 100), slice(0, 50)
    steep = {"hidden": (4,), "activation": "exponential", "l2": 0.0}
    bank = new_bank(
        [design(seed, steep, batch_size=32) for seed in range(4)],
        statistics=feature_statistics(features),
    )
    bank.fit(Samples(features, labels), Samples(features[val_rows], labels[val_rows]), 2)
    assert all(np.isfinite(history["val_loss"]).all() for history in bank.history)


@pytest.mark.parametrize("samples", [(TRAIN, 0), (0, VAL)])
def test_a_bank_needs_rows(samples):
    nothing = Samples(FEATURES[:0], LABELS[:0])
    train, val = (one or nothing for one in samples)
    with pytest.raises(InputError, match="expects training and validation rows"):
        new_bank(linear()).fit(train, val, 1)


def saved_and_loaded(bank, designs, **options):
    """A new bank that goes on from what was written to a file."""
    file = io.BytesIO()
    np.savez(file, **bank.state())
    history = json.loads(json.dumps(bank.history))
    file.seek(0)
    other = new_bank(designs, **options)
    with np.load(file) as arrays:
        other.restore(arrays, history)
    return other


def test_dropped_heads_keep_their_history_and_others_their_course():
    bank = new_bank(linear(epochs=8))
    bank.fit(TRAIN, VAL, 3)
    bank.drop([1, 3])
    restored = saved_and_loaded(bank, bank.designs)
    bank.fit(TRAIN, VAL, 8)
    whole = trained_linear()
    assert [len(history["loss"]) for history in bank.history] == [8, 3, 8, 3, 8]
    assert bank.state()["weights.0"].shape == (3, 3, 12)
    assert bank.state()["places"].tolist() == [0, 2, 4]
    for place, number in enumerate((0, 2, 4)):
        check_equal(last_weights(bank, place), last_weights(whole, number), 1e-4)
        check_same_course(bank.history[number], whole.history[number], 1e-4)
    check_best(bank, (0, 2, 4))
    for number in (1, 3):
        dropped, followed = bank.history[number], whole.history[number]
        assert dropped == {name: values[:3] for name, values in followed.items()}
        values = followed["val_accuracy"][:3]
        assert bank.fitted(number).best_epoch == best_epoch(values, "val_accuracy")
        with pytest.raises(ValueError, match=f"not dropped, received {number}"):
            bank.head(number)
    # An interrupted one ends where this one did, also after two interruptions.
    restored.fit(TRAIN, VAL, 5)
    restored = saved_and_loaded(restored, bank.designs)
    restored.fit(TRAIN, VAL, 8)
    check_same_state(restored, bank)
    for mine, theirs in zip(
        restored.head(2).get_weights(), bank.head(2).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_heads_may_be_dropped_before_they_are_trained_and_all_of_them():
    bank, whole = new_bank(linear(epochs=8)), trained_linear()
    bank.drop([1, 3])
    bank.fit(TRAIN, VAL, 3)
    for number in (0, 2, 4):
        first = {name: values[:3] for name, values in whole.history[number].items()}
        check_same_course(bank.history[number], first, 1e-4)
    assert bank.history[1] == bank.history[3] == {column: [] for column in COLUMNS}
    bank.drop(range(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of numpy
        bank.fit(TRAIN, VAL, 8)
    assert bank.epochs_done == 3


@pytest.mark.parametrize("kind", ["linear, sgd", "deep with batch norm, adamw", "dropout, adamw"])
def test_a_saved_bank_ends_where_an_uninterrupted_one_does(kind):
    expected = trained(kind)
    bank = new_bank(expected.designs)
    bank.fit(TRAIN, VAL, 2)
    bank = saved_and_loaded(bank, expected.designs)
    assert bank.epochs_done == 2 and (bank.seconds > 0).all()
    bank.fit(TRAIN, VAL, EPOCHS)
    check_same_state(bank, expected)


def test_a_bank_saved_before_its_first_epoch_starts_anew():
    bank = saved_and_loaded(new_bank(linear(epochs=8)), linear(epochs=8))
    bank.fit(TRAIN, VAL, 8)
    check_same_state(bank, trained_linear())


def test_what_was_saved_does_not_change_with_more_training():
    bank = bank_of(linear(epochs=8), epochs=1)
    saved = bank.state()
    copies = {name: array.copy() for name, array in saved.items()}
    bank.fit(TRAIN, VAL, 2)
    for name, copied in copies.items():
        np.testing.assert_array_equal(saved[name], copied, err_msg=name)


def test_epochs_done_one_by_one_are_those_done_at_once():
    bank, done = new_bank(linear(epochs=8)), []
    for last in (1, 1, 4, 8):
        bank.fit(TRAIN, VAL, last, done.append)
    check_same_state(bank, trained_linear())
    assert done == list(range(1, 9))


def test_the_seed_decides():
    check_same_state(bank_of(linear(epochs=8), epochs=8), trained_linear())
    other = bank_of(linear(epochs=8), epochs=8, seed=1)
    for place in range(5):  # the same initial weights, rows in another order
        kernels = [last_weights(bank, place)[0] for bank in (other, trained_linear())]
        assert 1e-4 < abs(np.subtract(*kernels)).max() < 1


def test_rows_come_in_the_order_that_the_seed_and_the_epoch_decide():
    order = ShuffledBatches(ROWS, ROWS, seed=5, epoch=1).chosen(0)
    shuffled = bank_of(linear(), epochs=1, seed=5)
    in_order = bank_of(linear(shuffle=False), Samples(FEATURES[order], LABELS[order]), epochs=1)
    check_same_state(in_order, shuffled)
    # 790 rows: the batch size that was chosen, 16, is also the default.
    check_same_state(bank_of(linear(batch_size=None), epochs=1, seed=5), shuffled)


def test_chunks_and_pieces_do_not_matter(monkeypatch):
    # 50 batches as 17, 17 and 16; 200 validation rows 29 at a time.
    monkeypatch.setattr(transfer.heads.chunks, "CHUNK_BYTES", 20 * 4 * BATCH * 12)
    monkeypatch.setattr(transfer.heads.bank, "PREDICTION_BYTES", 30 * 4 * 3 * 5)
    shapes, whole = [], trained_linear()
    chunks = transfer.heads.chunks.training_chunks

    def noting(*arguments):
        for chunk in chunks(*arguments):
            shapes.append((chunk["features"].shape, np.count_nonzero(chunk["counts"])))
            yield chunk

    monkeypatch.setattr(transfer.heads.bank, "training_chunks", noting)
    bank = bank_of(linear(epochs=8), epochs=8)
    assert shapes[:3] == [((17, 16, 12), 17), ((17, 16, 12), 17), ((17, 16, 12), 16)]
    for place in range(5):
        check_equal(last_weights(bank, place), last_weights(whole, place), 1e-5)
        check_same_course(bank.history[place], whole.history[place], 1e-5)


def test_views_of_an_image_are_judged_together():
    # Two views that disagree often: half of the noise is another in each.
    val = Samples(np.repeat(VAL_FEATURES[:100], 2, 0), np.repeat(VAL_LABELS[:100], 2), views=2)
    noise = np.random.default_rng(7).normal(size=val.features.shape).astype(np.float32)
    val = replace(val, features=val.features + 2 * noise)
    train = Samples(FEATURES, np.repeat(LABELS[::2], 2), views=2)  # any labels, two views of each
    bank = bank_of(linear(epochs=2), train, val, epochs=2)
    check_best(bank, range(5), val, views=2)
    one_by_one = scores(bank.head(0), replace(val, views=1))
    best = bank.fitted(0).best
    assert abs(np.subtract(one_by_one, (best["val_loss"], best["val_accuracy"]))).min() > 1e-3


def test_classes_that_count_alike_patience_and_plateau_are_those_of_keras():
    # A rare class, and so high a rate that validation soon gets worse.
    keep = (LABELS != 2) | (np.arange(ROWS) % 6 == 0)
    features, labels = np.tile(FEATURES[keep], (2, 1))[:ROWS], np.tile(LABELS[keep], 2)[:ROWS]
    options = {"class_weights": "balanced", "monitor": "val_loss", "seed": 0, "epochs": 30}
    designs = linear(**options, patience=6, schedule="plateau", label_smoothing=0.0)
    designs = [replace(one, head=HeadOptions(l2=0.0)) for one in designs]
    bank = bank_of(designs, Samples(features, labels), epochs=30)
    number, one = 0, designs[0]
    head = keras_head(one)
    fitted = fit_head(head, features, labels, VAL_FEATURES, VAL_LABELS, one.fit)
    found = bank.fitted(number)
    assert found.best_epoch == fitted.best_epoch
    assert 7 <= len(fitted.history["loss"]) < 30
    assert min(fitted.history["learning_rate"]) < one.fit.learning_rate
    for column in COLUMNS:
        assert found.history[column] == pytest.approx(fitted.history[column], rel=1e-3, abs=1e-4)
    check_equal(keras_weights(bank.head(number)), keras_weights(head), 1e-4)


def on_disk(features, rows_per_buffer=200, views=1):
    of_row = features.reshape(-1, views, *features.shape[1:]) if views > 1 else features
    return StoredFeatures(
        of_row.__getitem__,
        np.arange(len(of_row)),
        features.shape[1:],
        views,
        block_rows=20,
        buffer_bytes=rows_per_buffer * 4 * views * int(np.prod(features.shape[1:])),
    )


def test_half_precision_maps_on_disk_are_learned_as_keras_learns_them():
    # 2 x 2 positions of 3 channels, which are standardised alike; sorted by class.
    shape, order = (2, 2, 3), np.argsort(LABELS, kind="stable")
    maps, labels = FEATURES[order].reshape(-1, *shape).astype(np.float16), LABELS[order]
    val_maps = VAL_FEATURES.reshape(-1, *shape).astype(np.float16)
    statistics = feature_statistics(maps)
    assert len(statistics[0]) == 3
    options = {"seed": 0, "label_smoothing": 0.0, "epochs": EPOCHS}
    designs = [replace(one, head=HeadOptions(l2=0.0)) for one in linear(**options)]
    places = {"shape": shape, "statistics": statistics}
    stored, val = Samples(on_disk(maps), labels), Samples(on_disk(val_maps), VAL_LABELS)
    bank = bank_of(designs, stored, val, **places)
    head = keras_head(designs[1], **places)
    fitted = fit_head(head, on_disk(maps), labels, on_disk(val_maps), VAL_LABELS, designs[1].fit)
    found = bank.fitted(1)
    assert found.best_epoch == fitted.best_epoch
    for column in COLUMNS:
        assert found.history[column] == pytest.approx(fitted.history[column], rel=1e-3, abs=1e-4)
    check_equal(keras_weights(bank.head(1)), keras_weights(head), 1e-4)
    check_best(bank, range(5), val)
    # Validation from memory is validation from disk, also with two views of each row.
    in_memory = bank_of(designs, stored, Samples(val_maps, VAL_LABELS), **places)
    for one, two in zip(in_memory.history, bank.history, strict=True):
        check_same_course(one, two, 1e-5)
    views = [
        Samples(place, np.repeat(VAL_LABELS[:100], 2), 2)
        for place in (val_maps, on_disk(val_maps, views=2))
    ]
    banks = [bank_of(designs, stored, one, epochs=2, **places) for one in views]
    for one, two in zip(*(bank.history for bank in banks), strict=True):
        check_same_course(one, two, 1e-5)


def test_sigmoid_heads_on_disk_equal_keras_on_the_same_batches():
    labels, val = LABELS % 2, Samples(VAL_FEATURES, VAL_LABELS % 2)
    designs = [
        design(seed, {"output": "sigmoid", "l2": penalty}, label_smoothing=smoothing)
        for seed, penalty, smoothing in [(0, 0.01, 0.2), (1, 0.0, 0.0)]
    ]
    bank = bank_of(designs, Samples(on_disk(FEATURES), labels), val, num_classes=2)
    head = keras_head(designs[0], num_classes=2)
    head, history = alone(designs[0], head, on_disk(FEATURES), labels)
    check_trained_alike(bank, 0, head, history)
    check_best(bank, (0, 1), val)
    assert bank.head(1).output_shape == (None, 1)


@pytest.mark.parametrize("failing", ["train", "val"])
def test_what_reading_raises_is_raised_as_it_is(failing):
    def read(rows):
        if rows[-1] > 150:
            raise InputError("some rows are damaged")
        return FEATURES[rows]

    damaged = replace(on_disk(FEATURES), read=read)
    train = Samples(damaged, LABELS) if failing == "train" else TRAIN
    val = Samples(damaged, LABELS) if failing == "val" else VAL
    with pytest.raises(InputError, match="some rows are damaged"):
        bank_of(linear(), train, val)


@pytest.mark.parametrize(
    "change",
    [
        {"head": {"hidden": (4,)}},
        {"head": {"output": "sigmoid"}},
        {"head": {"dropout": 0.5}},
        {"optimizer": "sgd"},
        {"batch_size": 8},
        {"class_weights": "balanced"},
        {"shuffle": False},
    ],
)
def test_heads_that_cannot_be_stacked_are_refused(change):
    with pytest.raises(ValueError, match="designs of one stack key, received"):
        new_bank([design(0), design(1, **change)])


def test_a_bank_needs_designs_and_a_head_needs_training():
    with pytest.raises(ValueError, match="designs of one stack key, received set"):
        new_bank([])
    with pytest.raises(ValueError, match="a trained head that was not dropped, received 0"):
        new_bank(LINEAR).head(0)
    # What makes no difference to the layers makes none to the stack.
    new_bank([design(0, {"batch_norm": True, "activation": "gelu"}), design(1, optimizer="adamw")])

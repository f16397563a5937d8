"""Schedules as numbers: those of Keras's own schedules and callbacks, step by step."""

import math
from types import SimpleNamespace

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.heads.fitting import _schedule, schedule_callbacks
from transfer.heads.options import FitOptions
from transfer.heads.schedules import learning_rates, plateau_falls

OPTIONS = st.builds(
    FitOptions,
    epochs=st.integers(1, 40),
    learning_rate=st.floats(1e-5, 10),
    schedule=st.sampled_from(["constant", "exponential", "cosine", "plateau"]),
    decay=st.floats(0.1, 1),
    warmup_epochs=st.one_of(st.just(0.0), st.floats(0, 6)),
)


def by_keras(options, steps_per_epoch, steps):
    rate = _schedule(options, options.learning_rate, steps_per_epoch)
    return [float(rate(step)) if callable(rate) else rate for step in steps]


@settings(deadline=None, max_examples=60)
@given(st.lists(OPTIONS, min_size=1, max_size=3), st.integers(1, 300), st.data())
def test_rates_are_those_of_keras(options, steps_per_epoch, data):
    # Windows around the ends of warm-up, of an epoch, and of training, and past it.
    ends = [round(one.warmup_epochs * steps_per_epoch) for one in options]
    ends += [steps_per_epoch, *(one.epochs * steps_per_epoch for one in options)]
    first = max(0, data.draw(st.sampled_from(ends)) - data.draw(st.integers(0, 4)))
    highest = np.array([one.learning_rate for one in options])
    rates = learning_rates(options, highest, steps_per_epoch, first, 5)
    assert rates.dtype == np.float32
    expected = [by_keras(one, steps_per_epoch, range(first, first + 5)) for one in options]
    np.testing.assert_allclose(rates / highest, np.transpose(expected) / highest, atol=2e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(OPTIONS, min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 99))
def test_windows_put_together_are_the_whole(options, steps_per_epoch, cut):
    highest = np.linspace(0.5, 2, len(options))
    whole = learning_rates(options, highest, steps_per_epoch, 0, 100)
    parts = [(0, cut), (cut, 100 - cut)]
    np.testing.assert_array_equal(
        np.concatenate([learning_rates(options, highest, steps_per_epoch, *one) for one in parts]),
        whole,
    )


def test_a_cosine_by_hand():
    warming = FitOptions(epochs=5, schedule="cosine", warmup_epochs=1)
    rates = learning_rates([FitOptions(epochs=4), warming], np.array([2.0, 2.0]), 2, 0, 12)
    cosine = [2, 1 + math.cos(math.pi / 8), 1 + math.sqrt(0.5), 1 + math.cos(3 * math.pi / 8), 1]
    falling = [*cosine, *(2 - value for value in cosine[-2::-1])]
    np.testing.assert_allclose(rates[:, 0], [*falling, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(rates[:, 1], [0, 1, *falling, 0], atol=1e-6)


def falls_by_keras(values, options):
    """How often Keras's callback, as `fit_head` makes it, halves a rate of 1."""
    (callback,) = (
        one
        for one in schedule_callbacks(options)
        if isinstance(one, keras.callbacks.ReduceLROnPlateau)
    )
    # Else it would ask the metrics of a compiled model which way is better.
    callback.mode = "max" if options.monitor == "val_accuracy" else "min"
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=1.0))
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {options.monitor: value})
    return -math.log2(model.optimizer.learning_rate)


# Often equal, or apart by a little less or more than the 0.0001 that count as better.
SCORES = st.builds(
    lambda thousandths, more: thousandths / 1000 + more,
    st.integers(0, 5) | st.integers(0, 1000),
    st.sampled_from([0.0, 0.00003, 0.00016]),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(SCORES, max_size=40), st.integers(1, 20), st.sampled_from(["val_loss", "val_accuracy"])
)
def test_the_plateau_falls_as_often_as_in_keras(values, patience, monitor):
    options = FitOptions(schedule="plateau", patience=patience, monitor=monitor)
    falls = plateau_falls(values, monitor == "val_accuracy", options.plateau_patience)
    assert falls == falls_by_keras(values, options)


def test_a_plateau_by_hand():
    scores = [0.5, 0.6, 0.6, 0.60005, 0.5, 0.7, 0.7, 0.7]
    assert plateau_falls(scores, maximise=True, patience=2) == 2
    assert plateau_falls(scores, maximise=True, patience=3) == 1
    assert plateau_falls(scores, maximise=False, patience=2) == 3
    assert plateau_falls(scores, maximise=False, patience=7) == 1
    assert plateau_falls([], maximise=True, patience=1) == 0

"""Stacked arithmetic: what Keras's layers, losses and optimizers give head by head; dropout masks.

Nothing is compiled here; `tests.transfer.heads.test_bank` trains.
"""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.ops import convert_to_numpy as array
from keras.ops import convert_to_tensor as tensor

from transfer.heads.bank import _variables
from transfer.heads.building import build_head
from transfer.heads.fitting import _optimizer
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.stacked import Architecture, Dropout, forward, losses, probabilities
from transfer.heads.updates import SLOTS, update

SOFTMAX = Architecture((), "linear", False, False, False, "adam")
SIGMOID = Architecture((), "linear", False, True, False, "adam")


def normal(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng((seed, *shape)).normal(size=shape)).astype(np.float32)


def stacked(heads):
    """Weights and moving statistics as `forward` takes them."""
    values = [[array(one) for one in _variables(head)] for head in heads]
    stacks = [np.stack([one.T for one in same]) for same in zip(*values, strict=True)]
    num_learned = len(heads[0].trainable_variables)
    return stacks[:num_learned], stacks[num_learned:]


def shaken(options, seed):
    """A head with other statistics, offsets and biases than zeros and ones."""
    head = build_head(options, np.zeros(5, np.float32), np.ones(5, np.float32), (5,), 3, seed)
    for place, variable in enumerate(_variables(head)):
        variable.assign_add(np.abs(normal(*variable.shape, seed=10 * seed + place, scale=0.3)))
    return head


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        HeadOptions(),
        HeadOptions(hidden=(7,), activation="gelu"),
        HeadOptions(hidden=(7, 4), batch_norm=True),
    ],
)
def test_all_heads_at_once_are_what_each_is_alone(options, training):
    heads, batch = [shaken(options, seed) for seed in range(3)], normal(20, 5)
    weights, moving = stacked(heads)
    architecture = Architecture(
        options.hidden, options.activation, options.batch_norm, False, False, "adam"
    )
    # A batch that is filled up: the rows too many must not count for the statistics.
    filled = np.concatenate([batch, np.full((6, 5), 9.0, np.float32)])
    mask = tensor(np.repeat([1.0, 0.0], [20, 6]).astype(np.float32))
    logits, new_moving = forward(
        architecture,
        [tensor(one) for one in weights],
        [tensor(one) for one in moving],
        tensor(filled),
        mask if training else None,
    )
    found = array(probabilities(architecture, logits))[:, :20]
    expected = [array(head(batch, training=training)) for head in heads]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    if training:  # which changed Keras's statistics too
        for ours, theirs in zip(new_moving, stacked(heads)[1], strict=True):
            np.testing.assert_allclose(array(ours), theirs, rtol=1e-5)
    else:
        assert new_moving == []


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_losses_are_those_of_keras(smoothing):
    shares = np.array([0.1, smoothing, 0.5, smoothing], np.float32)
    for architecture, width in ((SOFTMAX, 3), (SIGMOID, 1)):
        logits, labels = normal(4, 50, width, scale=4), np.arange(50) % max(2, width)
        found = array(losses(architecture, *map(tensor, (logits, labels.astype(np.int32), shares))))
        if architecture.sigmoid:
            targets = labels[:, None].astype(np.float32)
            of_keras = keras.losses.BinaryCrossentropy(
                from_logits=True, label_smoothing=smoothing, reduction=None
            )
        else:
            targets = np.eye(width, dtype=np.float32)[labels]
            of_keras = keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=smoothing, reduction=None
            )
        for head in (1, 3):
            np.testing.assert_allclose(
                found[head], array(of_keras(targets, logits[head])), rtol=1e-5, atol=1e-6
            )


def test_two_columns_come_of_a_sigmoid():
    logits = normal(3, 4, 1)
    found = array(probabilities(SIGMOID, tensor(logits)))
    expected = 1 / (1 + np.exp(-logits[..., 0].astype(np.float64)))
    np.testing.assert_allclose(found[..., 1], expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)


def rules(optimizer):
    """Random settings, with and without each of momentum and weight decay."""
    rng = np.random.default_rng(0)
    for momentum, decay in itertools.product((0, 1), (0, 1)):
        yield FitOptions(
            optimizer=optimizer,
            schedule="constant",
            learning_rate=10 ** rng.uniform(-3, -0.5),
            momentum=momentum * rng.uniform(0, 0.99),
            beta_1=momentum * rng.uniform(0, 0.99),
            beta_2=rng.uniform(0, 0.9999),
            weight_decay=decay * rng.uniform(0, 0.2),
        )


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_the_update_rules_are_those_of_keras(optimizer):
    options = list(rules(optimizer))
    vector = {
        name: np.array([getattr(one, name) for one in options], np.float32)
        for name in ("learning_rate", "weight_decay", "momentum", "beta_1", "beta_2")
    }
    vector = {name: tensor(values) for name, values in vector.items()}
    weight = tensor(normal(len(options), 3, 2))
    variables = [keras.Variable(one) for one in array(weight)]
    theirs = [_optimizer(one, one.learning_rate, 10) for one in options]
    slots = [tensor(np.zeros(weight.shape, np.float32))] * SLOTS[optimizer]
    for step in range(25):
        gradient = tensor(normal(len(options), 3, 2, seed=step + 1))
        for one, variable, of_head in zip(theirs, variables, gradient, strict=True):
            one.apply([of_head], [variable])
        number, rates = tensor(np.int32(step)), vector["learning_rate"]
        weight, slots = update(optimizer, weight, gradient, slots, rates, number, vector)
        expected = np.stack([array(variable) for variable in variables])
        np.testing.assert_allclose(array(weight), expected, rtol=1e-4, atol=1e-5)


def mixed_by_numpy(values):
    """The hash "lowbias32" as it was published, on unsigned integers."""
    values = np.asarray(values).astype(np.uint32)
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x7FEB352D)
    values = (values ^ (values >> np.uint32(15))) * np.uint32(0x846CA68B)
    return values ^ (values >> np.uint32(16))


def kept_by_numpy(seed, share, step, layer, rows, width):
    """`(rows, width)` bool: what `Dropout` promises to keep of one head's activations."""
    places = mixed_by_numpy(np.arange(1, rows * width + 1).reshape(rows, width))
    bits = mixed_by_numpy(places ^ mixed_by_numpy([step * 64 + layer + 1]))
    bits = mixed_by_numpy(bits ^ mixed_by_numpy([seed]))
    return (bits & np.uint32(2**24 - 1)) / 2**24 >= np.float32(share)


def dropout(seeds, shares, step):
    values = {"seeds": np.array(seeds, np.int32), "dropout": np.array(shares, np.float32)}
    return Dropout({name: tensor(one) for name, one in values.items()}, tensor(np.int32(step)))


def kept(seeds, shares, step=0, layer=0, rows=128, width=128):
    return array(dropout(seeds, shares, step).kept(layer, rows, width))


SEEDS = [0, 1, 2, 3, 1000, 2**31 - 1]
SHARES = [0.1, 0.25, 0.5, 0.5, 0.8, 0.9]


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**31 - 1),
    st.floats(0, 0.99),
    st.integers(0, 2**20),
    st.integers(0, 5),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_a_mask_follows_from_seed_step_layer_and_place_alone(seed, share, step, layer, rows, width):
    # Next to other heads, at another place among them, or in a smaller batch it stays as it is.
    expected = kept_by_numpy(seed, share, step, layer, rows, width)
    among = kept([5, seed, 7], [0.5, share, 0.9], step, layer, rows + 3, width)
    np.testing.assert_array_equal(among[1, :rows], expected)
    np.testing.assert_array_equal(kept([seed], [share], step, layer, rows, width)[0], expected)


def test_as_many_units_stay_as_each_head_asks_for():
    for step, layer in itertools.product((0, 1, 77), (0, 2)):
        stayed = kept(SEEDS, SHARES, step, layer)
        expected = 1 - np.array(SHARES)
        # Five standard deviations of a binomial share, over all units, and of rows and columns.
        spread = np.sqrt(expected * (1 - expected))
        assert (abs(stayed.mean((1, 2)) - expected) < 5 * spread / 128).all()
        for axis in (1, 2):
            off = abs(stayed.mean(axis) - expected[:, None])
            assert (off < 5 * spread[:, None] / np.sqrt(128)).all()
    assert kept(SEEDS, np.zeros(6)).all()


def test_masks_of_heads_layers_steps_rows_and_units_have_nothing_to_do_with_each_other():
    share = 0.4
    masks = {
        (step, layer): kept(SEEDS, [share] * 6, step, layer) - (1 - share)
        for step, layer in itertools.product((0, 1, 2, 63, 64, 1000), (0, 1))
    }
    flat = np.stack([one.ravel() for of_heads in masks.values() for one in of_heads])
    correlations = np.corrcoef(flat)[np.triu_indices(len(flat), 1)]
    # 72 masks of 16,384 units: 2,556 pairs, each with a standard deviation of 1 / 128.
    assert abs(correlations).max() < 5 / 128
    assert correlations.std() == pytest.approx(1 / 128, rel=0.1)
    assert abs(correlations.mean()) < 5 / 128 / np.sqrt(len(correlations))
    for one in masks.values():
        for rows, units in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (64, 0), (0, 64)):
            here, there = one[:, rows:, units:], one[:, : 128 - rows, : 128 - units]
            together = (here * there).mean((1, 2)) / (share * (1 - share))
            assert (abs(together) < 5 / np.sqrt(here[0].size)).all(), (rows, units)


@pytest.mark.parametrize("shape", [(40, 30), (6, 40, 30)])
def test_what_stays_is_scaled_so_that_sums_are_kept(shape):
    units = np.broadcast_to(normal(*shape), (6, 40, 30))
    found = array(dropout(SEEDS, SHARES, 3)(tensor(normal(*shape)), 1))
    for head, (seed, share) in enumerate(zip(SEEDS, SHARES, strict=True)):
        stays = kept_by_numpy(seed, share, 3, 1, 40, 30)
        expected = np.where(stays, units[head] / (1 - share), 0)
        np.testing.assert_allclose(found[head], expected, rtol=1e-5)

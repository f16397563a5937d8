"""Heads: their layers, and the options that are refused."""

import keras
import numpy as np
import pytest

from transfer.errors import InputError
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.options import HeadOptions

RNG = np.random.default_rng(0)


def head(options=HeadOptions(), shape=(6,), num_classes=3, seed=0):
    channels = shape[-1]
    return build_head(options, np.zeros(channels), np.ones(channels), shape, num_classes, seed)


def test_a_linear_head_is_softmax_of_standardised_features():
    features = RNG.normal(5, 3, (20, 6)).astype(np.float32)
    mean, variance = feature_statistics(features)
    model = build_head(HeadOptions(), mean, variance, (6,), 3)
    kernel, bias = model.get_layer("logits").get_weights()
    logits = (features - features.mean(0)) / features.std(0) @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(features, verbose=0), expected, atol=1e-5)


def test_layers_come_in_the_usual_order():
    options = HeadOptions(hidden=(8, 4), batch_norm=True, dropout=0.5)
    names = [layer.name for layer in head(options, (2, 2, 5)).layers]
    assert names == [
        *["features", "normalization", "flatten"],
        *["dropout_1", "dense_1", "batch_norm_1", "activation_1"],
        *["dropout_2", "dense_2", "batch_norm_2", "activation_2"],
        *["dropout", "logits", "probabilities"],
    ]


def test_the_penalty_is_that_of_all_dense_kernels():
    model = head(HeadOptions(hidden=(4,), l2=0.5))
    kernels = [model.get_layer(name).get_weights()[0] for name in ("dense_1", "logits")]
    expected = 0.5 * sum(float(np.square(kernel).sum()) for kernel in kernels)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "penalty"),
    [
        (HeadOptions(), 0.01),
        (HeadOptions(hidden=(4,)), 0.0),
        (HeadOptions(l2=0.0), 0.0),
        (HeadOptions(hidden=(4,), l2=0.3), 0.3),
    ],
)
def test_linear_heads_are_penalised_by_default(options, penalty):
    model = head(options)
    squares = sum(
        float(np.square(layer.get_weights()[0]).sum())
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense)
    )
    assert sum(map(float, model.losses)) == pytest.approx(penalty * squares, rel=1e-5)


def test_seeds_decide_the_weights():
    def weights(seed):
        return head(HeadOptions(hidden=(8,)), seed=seed).get_layer("dense_1").get_weights()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.allclose(weights(1), weights(2))


def test_sigmoid_has_one_output():
    model = head(HeadOptions(output="sigmoid"), num_classes=2)
    assert model.output_shape == (None, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (HeadOptions(output="sigmoid"), "two classes, received 3"),
        (HeadOptions(dropout=1.0), "--dropout"),
        (HeadOptions(hidden=(0,)), "--hidden"),
        (HeadOptions(l2=-1.0), "--l2"),
        (HeadOptions(activation="reluu"), "--activation .* 'reluu'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        head(options)


def test_a_feature_that_never_changes_does_not_blow_up():
    features = np.full((10, 2), 6.0, np.float32)
    features[:, 1] = np.arange(10)
    mean, variance = feature_statistics(features)
    assert variance[0] == 1
    model = build_head(HeadOptions(), mean, variance, (2,), 3)
    nearly = features + np.float32([1e-4, 0])
    np.testing.assert_allclose(
        model.predict(nearly, verbose=0), model.predict(features, verbose=0), atol=1e-3
    )
    assert isinstance(model.layers[1], keras.layers.Normalization)

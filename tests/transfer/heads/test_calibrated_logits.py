"""Logits of heads, and temperatures inside of them."""

import numpy as np
import pytest
from scipy.special import softmax

from transfer.classifier import as_probabilities
from transfer.heads.building import build_head, divide_logits
from transfer.heads.fitting import head_logits, predict_head
from transfer.heads.options import HeadOptions


@pytest.fixture(params=["softmax", "sigmoid"])
def head(request):
    options = HeadOptions(hidden=(3,), batch_norm=True, output=request.param)
    return build_head(options, np.zeros(2), np.ones(2), (2, 2, 2), num_classes=2)


FEATURES = np.random.default_rng(0).normal(0, 9, (7, 2, 2, 2)).astype(np.float32)


def test_softmax_of_the_logits_is_what_a_head_says(head):
    said = as_probabilities(predict_head(head, FEATURES))
    np.testing.assert_allclose(softmax(head_logits(head, FEATURES), axis=1), said, atol=1e-6)


def test_a_temperature_divides_logits_and_changes_no_class(head):
    before = head_logits(head, FEATURES)
    layers = [layer.name for layer in head.layers]
    divide_logits(head, 2.5)
    np.testing.assert_allclose(head_logits(head, FEATURES), before / 2.5, rtol=1e-5, atol=1e-6)
    said = as_probabilities(predict_head(head, FEATURES))
    np.testing.assert_array_equal(said.argmax(1), before.argmax(1))
    assert [layer.name for layer in head.layers] == layers

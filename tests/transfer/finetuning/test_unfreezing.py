"""Unfreezing: which layers train, counted from the top or by name."""

import pytest

from tests.transfer.finetuning.small_classifier import batch_norms, classifier
from transfer.errors import InputError
from transfer.finetuning.unfreezing import unfreeze


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

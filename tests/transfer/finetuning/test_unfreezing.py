"""Unfreezing: which layers train, by number, name or block, and what lies in front of them."""

import keras
import numpy as np
import pytest

from tests.transfer.backbones.random_backbones import random_options
from tests.transfer.finetuning.small_classifier import batch_norms, classifier
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone
from transfer.classifier import build_classifier
from transfer.errors import InputError
from transfer.finetuning.unfreezing import unfreeze

CASES = {
    # What is asked for: the first layer that trains, the place in front of it, in words.
    "all": ("block_1_conv", None, "all layers and the head"),
    "999": ("block_1_conv", None, "all layers and the head"),
    "head": (None, "", "the head alone"),
    "0": (None, "", "the head alone"),
    "blocks:1": ("block_4_conv", "block_3_relu", "block_4 and the head"),
    "3": ("block_4_conv", "block_3_relu", "block_4 and the head"),
    "2": ("block_4_norm", "block_4_conv", "block_4 and the head"),
    "blocks:2": ("block_3_conv", "block_2_relu", "block_3 to block_4 (2 of 4 blocks) and the head"),
    "block_3": ("block_3_conv", "block_2_relu", "block_3 to block_4 (2 of 4 blocks) and the head"),
    "block_3_norm": (
        "block_3_norm",
        "block_3_conv",
        "block_3 to block_4 (2 of 4 blocks) and the head",
    ),
    "blocks:9": ("block_1_conv", "input", "all layers and the head"),
}


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def branched():
    """A real network with parallel branches, and a head on two of its cuts."""
    options = random_options("MobileNetV2", alpha=0.35, cut=("block_4_add", "out_relu"))
    backbone = cut_backbone(build_backbone(options), options.cut)
    width = sum(output.shape[-1] for output in backbone.outputs)
    features = keras.Input((width,))
    logits = keras.layers.Dense(3, activation="softmax", name="logits")(features)
    head = keras.Model(features, logits, name="head")
    return build_classifier(backbone, head, options)


def parts(model):
    body = model.get_layer("body")
    return body.get_layer("backbone"), body.get_layer("head")


def sizes(layers):
    """Numbers in what gradients move, statistics of norms left out."""
    names = ("moving_mean", "moving_variance", "mean", "variance", "count")
    weights = {id(w): w for layer in layers for w in layer.weights}
    return sum(int(np.prod(w.shape)) for w in weights.values() if w.name not in names)


def of_head(head):
    kept = {id(weight) for norm in batch_norms(head) for weight in norm.weights}
    return sum(
        int(np.prod(w.shape))
        for w in head.weights
        if id(w) not in kept and w.name not in ("mean", "variance", "count")
    )


@pytest.mark.parametrize("which", CASES)
def test_what_trains_and_what_lies_in_front_of_it(model, which):
    first, place, words = CASES[which]
    unfrozen = unfreeze(model, which)
    backbone, head = parts(model)
    names = [layer.name for layer in backbone.layers]
    behind = [] if first is None else names[names.index(first) :]
    trained = [layer.name for layer in backbone.layers if layer.trainable_variables]
    assert trained == [name for name in behind if backbone.get_layer(name).weights]
    assert unfrozen.place == (None if place == "input" else place)
    assert unfrozen.in_words == words
    layers = [backbone.get_layer(name) for name in behind]
    assert unfrozen.parameters == sizes(layers) + of_head(head)
    assert unfrozen.parameters == sum(np.prod(v.shape) for v in model.trainable_variables)
    assert head.get_layer("logits").trainable
    assert all(not norm.trainable for norm in batch_norms(head))


def test_norms_train_alone_all_over(model):
    unfrozen = unfreeze(model, "norm")
    backbone, head = parts(model)
    trained = {variable.path.split("/")[-1] for variable in backbone.trainable_variables}
    assert trained == {"gamma", "beta"}
    assert unfrozen.place is None and "norms" in unfrozen.in_words
    assert unfrozen.parameters == sum(2 * 8 * block for block in range(1, 5)) + of_head(head)


def test_depths_count_blocks_from_the_head(model):
    depths = unfreeze(model, "blocks:3").depths
    by_layer = {path.split("/")[-2]: depth for path, depth in depths.items()}
    assert by_layer == {
        f"block_{block}_{kind}": 4 - block for block in (2, 3, 4) for kind in ("conv", "norm")
    }
    assert unfreeze(model, "head").depths == {}


@pytest.mark.parametrize(
    ("which", "place"),
    [
        ("blocks:2", "block_15_add"),
        ("block_14", "block_13_project_BN"),
        ("block_14_project", "block_13_project_BN"),  # the branch around it begins there
        ("block_5_depthwise", "block_4_add"),
    ],
)
def test_branches_are_not_cut(branched, which, place):
    unfrozen = unfreeze(branched, which)
    assert unfrozen.place == place
    backbone, _ = parts(branched)
    names = [layer.name for layer in backbone.layers]
    first = next(layer.name for layer in backbone.layers if layer.trainable_variables)
    assert names.index(place) < names.index(first)
    assert unfrozen.parameters == sum(np.prod(v.shape) for v in branched.trainable_variables)


def test_wrong_names_list_likely_ones(model):
    with pytest.raises(InputError, match=r"block_3_konv.*block_3_conv") as caught:
        unfreeze(model, "block_3_konv")
    assert "\n" not in str(caught.value)
    for which in ("blocks:0", "blocks:-1", "blocks:x", "-1", "", "nothing like it"):
        with pytest.raises(InputError, match=r"likely names: .*block_"):
            unfreeze(model, which)

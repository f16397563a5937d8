"""Heat maps add up to logits exactly, and features of the body are those of the cached path."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from transfer.backbones.body import feature_body
from transfer.backbones.options import BackboneOptions
from transfer.backbones.resizing import resize_pixels
from transfer.choosing.building import build_linear_head
from transfer.choosing.choice import LinearHead
from transfer.classifier import ClassifierCard, body_with_features, build_classifier
from transfer.errors import InputError
from transfer.explaining.evidence import Explainer, explain, spread
from transfer.heads.building import build_head
from transfer.heads.options import HeadOptions

OPTIONS = BackboneOptions("MobileNetV2", "none", image_size=32)
CARD = ClassifierCard(("a", "b", "c"), "MobileNetV2", (32, 32), ("first", "second"), "avg")
WIDTHS = 6 + 10


def backbone():
    """Two cuts whose grids, of 15 and of 7 cells a side, do not divide; the second is signed."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    first = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="first")(pixels)
    second = keras.layers.Conv2D(10, 3, strides=2, name="second")(first)
    return keras.Model(pixels, [first, second], name="backbone")


def linear(transform, classes=3):
    rng = np.random.default_rng(1)
    mean, kernel = rng.normal(size=WIDTHS), rng.normal(size=(WIDTHS, classes))
    variance, bias = rng.uniform(0.01, 2, WIDTHS), rng.normal(size=classes)
    values = [value.astype(np.float32) for value in (mean, variance, kernel, bias)]
    return build_linear_head(LinearHead(transform, *values), (WIDTHS,))


def trained(output="softmax", classes=3, hidden=()):
    mean, variance = np.linspace(-1, 1, WIDTHS), np.linspace(0.1, 2, WIDTHS)
    return build_head(HeadOptions(hidden, output=output), mean, variance, (WIDTHS,), classes)


def image(seed=0, size=(40, 50)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def logits_of(head, features):
    """What the head's last layer but one says."""
    return np.asarray(keras.Model(head.input, head.get_layer("logits").output)(features))[0]


def features_of(cut_backbone, pixels, options=OPTIONS):
    resized = resize_pixels(keras.ops.convert_to_tensor(pixels[None]), (32, 32))
    return [np.asarray(one) for one in feature_body(cut_backbone, options)(resized)]


HEADS = {"chosen": lambda: linear("none"), "rooted": lambda: linear("root"), "trained": trained}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("views", [("identity",), ("flip", "center", "identity")])
def test_the_mean_of_a_heat_map_is_the_logit_of_the_class(kind, views):
    head, cut = HEADS[kind](), backbone()
    options, card = replace(OPTIONS, views=views), replace(CARD, views=views)
    classifier = build_classifier(cut, head, options)
    expected = logits_of(head, np.concatenate(features_of(cut, image()), axis=-1))
    explainer = Explainer(classifier, card)
    assert explainer.why_not == ""
    found = [explainer.explain(image(), number) for number in range(3)]
    np.testing.assert_allclose([one.heat.mean() for one in found], expected, rtol=2e-4, atol=2e-4)
    assert {one.heat.shape for one in found} == {(15, 15)}
    said = np.asarray(classifier(image()[None]))[0]
    np.testing.assert_allclose(found[0].probabilities, said, atol=1e-5)
    assert explainer.explain(image()).explained == said.argmax()


def test_both_classes_of_a_sigmoid_have_maps():
    head, cut = trained("sigmoid", classes=2), backbone()
    classifier = build_classifier(cut, head, OPTIONS)
    (logit,) = logits_of(head, np.concatenate(features_of(cut, image()), axis=-1))
    maps = [explain(classifier, CARD, [image()], number)[0].heat for number in range(2)]
    np.testing.assert_allclose([one.mean() for one in maps], [-logit, logit], rtol=1e-4)


def test_heat_lies_where_the_evidence_is():
    """The class's weights are on a channel that is the image's red."""
    pixels = keras.Input((32, 32, 3))
    red = keras.layers.AveragePooling2D(4, name="red")(pixels)
    cut = keras.Model(pixels, [red], name="backbone")
    ones, kernel = np.ones(3, np.float32), np.array([[5, -5], [0, 0], [0, 0]], np.float32)
    head = build_linear_head(LinearHead("root", 0 * ones, ones, kernel, np.zeros(2)), (3,))
    classifier = build_classifier(cut, head, OPTIONS)
    shown = np.zeros((32, 32, 3), np.uint8)
    shown[8:16, 20:28] = (255, 60, 60)
    (found,) = explain(classifier, replace(CARD, cuts=("red",)), [shown], 0)
    assert np.argwhere(found.heat > found.heat.mean()).tolist() == [
        [row, column] for row in (2, 3) for column in (5, 6)
    ]


def test_other_heads_have_no_map_and_a_reason():
    for head, options, reason in (
        (trained(hidden=(4, 4)), OPTIONS, "hidden layers of this one: 2"),
        (trained(), replace(OPTIONS, pooling="max"), "pooling is max"),
    ):
        classifier = build_classifier(backbone(), head, options)
        explainer = Explainer(classifier, replace(CARD, pooling=options.pooling))
        assert reason in explainer.why_not
        found = explainer.explain(image())
        assert found.heat is None
        said = np.asarray(classifier(image()[None]))[0]
        np.testing.assert_allclose(found.probabilities, said, atol=1e-5)


def test_what_cannot_be_explained_is_refused():
    classifier = build_classifier(backbone(), linear("none"), OPTIONS)
    with pytest.raises(InputError, match=r"received float64 \(4, 4, 3\)"):
        explain(classifier, CARD, [np.zeros((4, 4, 3))])
    with pytest.raises(InputError, match="from 0 to 2, received 3"):
        explain(classifier, CARD, [image()], 3)


@pytest.mark.parametrize("views", [("identity",), ("identity", "flip", "top-left")])
@pytest.mark.parametrize("pooling", ["avg", "none"])
def test_the_body_shows_the_features_that_are_cached(views, pooling):
    options = replace(OPTIONS, views=views, pooling=pooling)
    card = replace(CARD, views=views, pooling=pooling)
    cut = backbone()
    if pooling == "none":
        cut = keras.Model(cut.input, [cut.outputs[1]], name="backbone")
        flat = HeadOptions()
        head = build_head(flat, np.zeros(10), np.ones(10), (7, 7, 10), 3)
    else:
        head = trained()
    classifier = build_classifier(cut, head, options)
    body = body_with_features(classifier, card)
    pixels = image(size=(32, 32))[None].astype(np.float32)
    said, features = (np.asarray(one) for one in body(pixels, training=False))
    cached = np.asarray(feature_body(cut, options)(pixels)[-1])
    np.testing.assert_allclose(features, cached.reshape(1, -1, 10).mean(1), atol=1e-4)
    expected = np.asarray(classifier.get_layer("body")(pixels, training=False))
    np.testing.assert_allclose(said, expected, atol=1e-6)


@pytest.mark.parametrize("coarse", [(1, 1), (2, 3), (7, 5), (15, 15)])
def test_a_grid_that_is_spread_keeps_its_mean_and_its_places(coarse):
    values = np.random.default_rng(0).normal(size=coarse)
    fine = spread(values, (15, 15))
    assert fine.mean() == pytest.approx(values.mean())
    assert values.min() - 1e-9 <= fine.min() and fine.max() <= values.max() + 1e-9
    doubled = spread(values, (2 * coarse[0], 3 * coarse[1]))
    np.testing.assert_allclose(doubled, np.kron(values, np.ones((2, 3))))

"""The architecture: its boxes, what they say, and that they lie apart."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.transfer.pictures.drawing import assert_nothing_is_cut_off, image_size, text_boxes, texts
from transfer.pictures import architecture
from transfer.pictures.architecture import plot_architecture


def classifier(num_cuts, *, skipping=False):
    """A tiny classifier built as the real ones are: nested body, backbone and head.

    With `skipping` the first cut goes to the concatenation without pooling.
    """
    import keras
    from keras import layers

    pixels = keras.Input((16, 16, 3), name="pixels")
    x, cuts = pixels, []
    for i in range(num_cuts):
        x = layers.BatchNormalization(name=f"bn_{i}")(layers.Conv2D(4, 3, name=f"conv_{i}")(x))
        cuts.append(x)
        x = layers.ZeroPadding2D(1, name=f"pad_{i}")(x)
    if skipping:
        cuts[0] = layers.GlobalMaxPooling2D(name="early")(cuts[0])
    backbone = keras.Model(pixels, cuts, name="backbone")
    backbone.trainable = False

    features = keras.Input((4 * num_cuts,), name="features")
    x = layers.Normalization(
        mean=np.zeros(4 * num_cuts), variance=np.ones(4 * num_cuts), name="normalization"
    )(features)
    x = layers.Dense(8, name="dense_1")(x)
    x = layers.BatchNormalization(name="batch_norm_1")(x)
    head = keras.Model(features, layers.Dense(2, name="logits")(x), name="head")

    resized = keras.Input((16, 16, 3), name="resized")
    outputs = backbone(
        layers.Rescaling(1 / 127.5, -1, name="preprocessing")(resized), training=False
    )
    outputs = outputs if isinstance(outputs, list) else [outputs]
    pooled = [
        x if len(x.shape) == 2 else layers.GlobalAveragePooling2D(name=f"pool_{i}")(x)
        for i, x in enumerate(outputs)
    ]
    joined = layers.Concatenate(name="join")(pooled) if num_cuts > 1 else pooled[0]
    body = keras.Model(resized, head(joined), name="body")
    images = keras.Input((None, None, 3), dtype="uint8", name="images")
    x = layers.Resizing(16, 16, name="resizing")(images)
    return keras.Model(images, body(x, training=False), name="classifier")


def boxes(figure):
    """The rectangles with a layer's name in bold inside: name -> patch."""
    axes = figure.axes[0]
    bold = [text for text in axes.texts if text.get_weight() == "bold"][1:]
    patches = [
        patch for patch in axes.patches if to_hex(patch.get_facecolor(), True) != "#00000000"
    ]
    found = {}
    for text in bold:
        position = axes.transData.transform(text.get_position())
        (found[text.get_text()],) = [
            patch for patch in patches if patch.get_window_extent().contains(*position)
        ]
    return found


def assert_tidy(figure):
    """Texts lie on the page and apart; boxes lie apart; each box holds its texts."""
    assert_nothing_is_cut_off(figure)
    shown = text_boxes(figure)
    for (first, one), (second, other) in combinations(shown, 2):
        assert not one.overlaps(other), f"{first!r} and {second!r} overlap"
    drawn = {name: patch.get_window_extent() for name, patch in boxes(figure).items()}
    for (first, one), (second, other) in combinations(drawn.items(), 2):
        assert not one.overlaps(other), f"{first} and {second} overlap"
    for text, box in shown:
        for name, around in drawn.items():
            if around.overlaps(box):
                assert around.x0 < box.x0 and box.x1 < around.x1, f"{text!r} leaves {name}"


def fill_of(figure, name):
    return to_hex(boxes(figure)[name].get_facecolor())


def test_architecture_names_shapes_and_counts(svg, figures):
    assert plot_architecture(classifier(1), svg) == svg
    said = texts(svg)
    for name in (
        "images", "resizing", "preprocessing", "backbone", "pool_0", "normalization", "dense_1",
        "batch_norm_1", "logits", "head",
    ):  # fmt: skip
        assert said.count(name) == 1, name
    assert "conv_0" not in said, "the backbone is one box"
    assert not {"resized", "features", "pixels"} & set(said), "inner inputs are no boxes"
    conv, norm, dense, head_norm, logits = 3 * 3 * 3 * 4 + 4, 4 * 4, 4 * 8 + 8, 8 * 4, 8 * 2 + 2
    assert "InputLayer → any × any × 3" in said
    assert "Resizing → 16 × 16 × 3" in said
    assert "→ 14 × 14 × 4" in said
    assert "model of 3 layers" in said
    assert f"{conv + norm} parameters, 0 trained" in said
    assert "GlobalAveragePooling2D → 4" in said
    assert f"{dense} parameters" in said
    assert f"{head_norm} parameters, {head_norm // 2} trained" in said
    everything = conv + norm + dense + head_norm + logits
    trained = dense + head_norm // 2 + logits
    assert f"classifier: {everything} parameters, {trained} trained" in said
    assert_tidy(figures[0])


def test_architecture_runs_downwards(tmp_path, figures):
    plot_architecture(classifier(1), tmp_path / "a.png")
    order = (
        "images resizing preprocessing backbone pool_0 normalization dense_1 batch_norm_1 logits"
    )
    drawn = boxes(figures[0])
    assert sorted(drawn, key=lambda name: -drawn[name].get_window_extent().y0) == order.split()
    width, height = image_size(tmp_path / "a.png")
    assert 1 < height / width < 4


def test_architecture_colours_what_is_trained(tmp_path, figures):
    model = classifier(2)
    plot_architecture(model, tmp_path / "frozen.png")
    backbone = model.get_layer("body").get_layer("backbone")
    backbone.trainable = True
    backbone.get_layer("bn_0").trainable = False
    plot_architecture(model, tmp_path / "partly.png")
    backbone.get_layer("bn_0").trainable = True
    plot_architecture(model, tmp_path / "trained.png")

    colours = [fill_of(figure, "backbone") for figure in figures]
    assert colours == [
        architecture.FILLS["frozen"],
        architecture.FILLS["partly trained"],
        architecture.FILLS["trained"],
    ]
    assert fill_of(figures[0], "dense_1") == architecture.FILLS["trained"]
    assert fill_of(figures[0], "resizing") == architecture.FILLS["no parameters"]
    assert len(set(architecture.FILLS.values())) == 4


@pytest.mark.parametrize("num_cuts", [2, 6])
def test_architecture_puts_cuts_side_by_side(tmp_path, figures, num_cuts):
    plot_architecture(classifier(num_cuts), tmp_path / "a.png")
    assert_tidy(figures[0])
    drawn = boxes(figures[0])
    row = [drawn[f"pool_{i}"].get_window_extent() for i in range(num_cuts)]
    assert len({round(box.y0) for box in row}) == 1
    assert [box.x0 for box in row] == sorted(box.x0 for box in row)
    assert drawn["backbone"].get_window_extent().y0 > row[0].y1
    assert drawn["join"].get_window_extent().y1 < row[0].y0


def test_architecture_folds_many_cuts(tmp_path, figures):
    plot_architecture(classifier(11), tmp_path / "a.png")
    assert_tidy(figures[0])
    drawn = boxes(figures[0])
    assert [name for name in drawn if name.startswith("pool")] == [f"pool_{i}" for i in range(5)]
    assert "… 6 more" in drawn
    said = [text.get_text() for text in figures[0].axes[0].texts]
    assert "→ 14 × 14 × 4, 14 × 14 × 4, 14 × 14 × 4, … 8 more" in said
    assert "Concatenate → 44" in said
    width, height = image_size(tmp_path / "a.png")
    assert max(width, height) < 2500


def test_architecture_leads_skipping_edges_around_the_boxes(tmp_path, figures):
    plot_architecture(classifier(3, skipping=True), tmp_path / "a.png")
    assert_tidy(figures[0])
    axes = figures[0].axes[0]
    pooled = [box.get_window_extent() for name, box in boxes(figures[0]).items() if "pool" in name]
    crossing_row = []
    for line in axes.lines:
        points = axes.transData.transform(line.get_xydata())
        for (x0, y0), (x1, y1) in pairwise(points):
            if x0 == x1 and max(y0, y1) >= pooled[0].y1 - 1 and min(y0, y1) <= pooled[0].y0 + 1:
                crossing_row.append(x0)
    assert len(crossing_row) == 1
    assert not [box for box in pooled if box.x0 <= crossing_row[0] <= box.x1]


def test_a_saved_model_is_drawn_alike(tmp_path, figures):
    import keras

    model = classifier(2)
    model.save(tmp_path / "m.keras")
    plot_architecture(model, tmp_path / "a.png")
    plot_architecture(keras.models.load_model(tmp_path / "m.keras"), tmp_path / "b.png")
    first, second = ([t.get_text() for t in figure.axes[0].texts] for figure in figures)
    assert first == second


@pytest.mark.parametrize(
    ("which", "fill", "said"),
    [
        (None, "frozen", []),  # as a head is saved
        ("head", "frozen", []),
        ("blocks:2", "partly trained", ["block_3_conv to block_4_norm", "4 of 8"]),
        ("norm", "partly trained", ["block_1_norm to block_4_norm", "4 of 8"]),
        ("1", "frozen", []),  # the last layer has no parameters
        ("2", "partly trained", ["block_4_norm", "1 of 8"]),
        ("all", "trained", []),
    ],
)
def test_a_loaded_classifier_says_what_of_it_was_trained(tmp_path, svg, figures, which, fill, said):
    from tests.transfer.finetuning.small_classifier import classifier
    from transfer.classifier import ClassifierCard, load_classifier, save_classifier
    from transfer.finetuning.unfreezing import unfreeze

    model = classifier(batch_norm=False)
    backbone = model.get_layer("body").get_layer("backbone")
    head = 32 * 8 + 8 + 8 * 2 + 2
    trained = unfreeze(model, which).parameters if which else head
    card = ClassifierCard(("red", "blue"), "MobileNetV2", (32, 32), ("block_4_relu",), "avg")
    save_classifier(model, card, tmp_path / "m.keras")
    plot_architecture(load_classifier(tmp_path / "m.keras")[0], svg)
    found = texts(svg)
    of_backbone = backbone.count_params()
    assert f"classifier: {of_backbone + head:,} parameters, {trained:,} trained" in found
    assert f"{of_backbone:,} parameters, {trained - head:,} trained" in found
    assert fill_of(figures[0], "backbone") == architecture.FILLS[fill]
    assert fill_of(figures[0], "logits") == architecture.FILLS["trained"]
    told = [text for text in found if "trained: " in text or " of 8 layers" in text]
    expected = [f"trained: {said[0]}", f"{said[1]} layers with parameters"] if said else []
    assert told == expected
    assert_tidy(figures[0])


def test_a_sequential_model_is_drawn(tmp_path, figures):
    import keras

    model = keras.Sequential(
        [
            keras.Input((6,), name="in"),
            keras.layers.Dense(3, name="a"),
            keras.layers.Dense(2, name="b"),
        ]
    )
    plot_architecture(model, tmp_path / "a.png")
    assert list(boxes(figures[0])) == ["in", "a", "b"]
    assert "21 parameters" in [text.get_text() for text in figures[0].axes[0].texts]


def test_a_real_backbone_is_counted_by_keras_itself(tmp_path, figures):
    import keras

    backbone = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, weights=None, include_top=False
    )
    images = keras.Input((32, 32, 3), name="images")
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(images, training=False))
    plot_architecture(keras.Model(images, pooled), tmp_path / "a.png")
    said = [text.get_text() for text in figures[0].axes[0].texts]
    trained = sum(int(np.prod(w.shape)) for w in backbone.trainable_weights)
    assert f"{backbone.count_params():,} parameters, {trained:,} trained" in said
    assert f"model of {len(backbone.layers)} layers" in said
    assert fill_of(figures[0], backbone.name) == architecture.FILLS["trained"]
    assert_tidy(figures[0])


def test_models_without_a_graph_are_refused(tmp_path):
    import keras

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    for model in (Own(), keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(ValueError, match=r"expected a functional model .*received"):
            plot_architecture(model, tmp_path / "x.png")

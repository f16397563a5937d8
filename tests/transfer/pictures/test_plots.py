"""What the pictures say, that nothing is cut off, and what is refused.

Text is read from SVG files; sizes, colours and overlaps from the figures on their way to the file.
"""

import subprocess
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.transfer.pictures.drawing import drawn_figures
from transfer.pictures import architecture
from transfer.pictures.architecture import plot_architecture
from transfer.pictures.curves import plot_history
from transfer.pictures.predictions import plot_confusion, plot_predictions

HISTORY = {
    "loss": [1.5, 1.0, 0.75, 0.5],
    "val_loss": [1.6, 1.1, 0.9, 0.95],
    "accuracy": [0.4, 0.6, 0.7, 0.8],
    "val_accuracy": [0.35, 0.55, 0.65, 0.66],
    "learning_rate": [0.1, 0.01, 0.001, 0.0001],
}


@pytest.fixture
def figures():
    """The figures drawn by the test, in order."""
    with drawn_figures() as drawn:
        yield drawn


@pytest.fixture
def svg(tmp_path):
    """A path for a picture whose text can be read with `texts`."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield tmp_path / "picture.svg"


def texts(path):
    elements = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()).strip() for element in elements]


def text_boxes(figure):
    """Every text that is drawn, with the pixels it covers."""
    found = figure.findobj(matplotlib.text.Text)
    return [
        (t.get_text(), t.get_window_extent()) for t in found if t.get_text() and t.get_visible()
    ]


def assert_nothing_is_cut_off(figure):
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height


def image_size(path):
    with Image.open(path) as image:
        image.load()
        assert len(image.convert("L").getcolors()) > 1, "the picture is blank"
        return image.size


# ---- history


def test_history_shows_both_splits_the_rate_and_the_best_epoch(svg, figures):
    assert plot_history(HISTORY, svg, best_epoch=2) == svg
    said = texts(svg)
    assert {"loss", "accuracy", "learning rate", "train", "validation", "epoch"} <= set(said)
    assert {"best epoch 3: 0.9", "best epoch 3: 0.65"} <= set(said)
    loss, accuracy, rate = figures[0].axes
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        train, val = axes.lines[:2]
        assert list(train.get_ydata()) == HISTORY[name]
        assert list(val.get_ydata()) == HISTORY[f"val_{name}"]
        assert list(train.get_xdata()) == [1, 2, 3, 4]
        assert [line.get_label() for line in (train, val)] == ["train", "validation"]
        assert train.get_color() != val.get_color()
    assert list(rate.lines[0].get_ydata()) == HISTORY["learning_rate"]


def test_history_draws_what_there_is(tmp_path, svg, figures):
    width, height = image_size(plot_history(HISTORY, tmp_path / "three.png", best_epoch=1))
    assert 2.5 < width / height < 5
    assert_nothing_is_cut_off(figures[0])
    plot_history({"loss": [0.5], "top5": [0.9]}, svg, best_epoch=None)
    said = texts(svg)
    assert "loss" in said
    assert not {"accuracy", "learning rate", "validation"} & set(said)
    assert not [text for text in said if "best" in text]


def test_epochs_are_whole_numbers(tmp_path, figures):
    plot_history({"loss": [0.5]}, tmp_path / "one.png", best_epoch=0)
    axes = figures[0].axes[0]
    shown = [t for t in axes.get_xticks() if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    assert shown == [1]


@pytest.mark.parametrize(
    ("history", "best_epoch", "words"),
    [
        ({"accuracy": [1.0]}, None, "with loss"),
        ({"loss": []}, None, "one value an epoch"),
        ({"loss": [1.0, 2.0], "val_loss": [1.0]}, None, "one value an epoch"),
        (HISTORY, 4, "from 0 to 3, received 4"),
        (HISTORY, -1, "received -1"),
    ],
)
def test_histories_that_do_not_fit_are_refused(tmp_path, history, best_epoch, words):
    with pytest.raises(ValueError, match=words):
        plot_history(history, tmp_path / "x.png", best_epoch=best_epoch)
    assert not (tmp_path / "x.png").exists()


# ---- confusion


def test_confusion_writes_names_and_counts_and_colours_shares(svg, figures):
    confusion = np.array([[30, 10, 0], [7, 693, 0], [0, 0, 0]])
    plot_confusion(confusion, ["cat", "dog $x_1$", "nobody"], svg, "head on test")
    said = texts(svg)
    assert {"cat", "dog $x_1$", "nobody", "head on test", "true class", "predicted class"} <= set(
        said
    )
    cells = [text for text in said if text.isdigit()]
    assert sorted(cells) == sorted(str(count) for count in confusion.ravel())
    shares = figures[0].axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [0.01, 0.99, 0], [0, 0, 0]])


@pytest.mark.parametrize("num_classes", [2, 20, 21, 100, 101])
def test_confusion_of_any_size_stays_readable(tmp_path, figures, num_classes):
    names = [f"a class with quite a long name {i}" for i in range(num_classes)]
    confusion = np.full((num_classes, num_classes), 1234)
    path = plot_confusion(confusion, names, tmp_path / "c.png", "title")
    width, height = image_size(path)
    assert 0.8 < width / height < 1.4
    assert max(width, height) < 2800
    assert_nothing_is_cut_off(figures[0])
    axes = figures[0].axes[0]
    assert len(axes.texts) == (num_classes**2 if num_classes <= 20 else 0)
    labels = [label for label in axes.get_yticklabels() if label.get_text().startswith("a class")]
    assert len(labels) == (num_classes if num_classes <= 100 else 0)
    for labels in (axes.get_yticklabels(), axes.get_xticklabels(), axes.texts[:num_classes]):
        boxes = [label.get_window_extent() for label in labels]
        overlapping = [pair for pair in pairwise(boxes) if pair[0].overlaps(pair[1])]
        assert not overlapping


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2), (9,)])
def test_confusion_of_another_shape_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"expected .*\(3, 3\).*received"):
        plot_confusion(np.zeros(shape, int), ["a", "b", "c"], tmp_path / "x.png", "")


# ---- predictions


@pytest.fixture(scope="module")
def photographs():
    data = pytest.importorskip("skimage.data")
    return [data.chelsea(), data.astronaut()[:64, :64], data.coffee(), data.rocket()]


def test_predictions_say_right_and_wrong(photographs, svg, figures):
    plot_predictions(
        photographs,
        ["cat", "person", "coffee", None],
        ["cat", "a_very_long_name_of_a_dog", "espresso", "rocket"],
        [0.394, 0.62, 0.941, 1.0],
        svg,
    )
    assert {
        "✓ cat 39%", "true: cat", "✗ a_very_long_name_of_a… 62%", "true: person",
        "✗ espresso 94%", "true: coffee", "rocket 100%",
    } == set(texts(svg))  # fmt: skip

    looks = []
    for axes in figures[0].axes:
        edge = axes.spines["left"]
        assert to_hex(edge.get_edgecolor()) == to_hex(axes.title.get_color())
        looks.append((axes.title.get_color(), edge.get_linewidth()))
    right, wrong, unknown = looks[0], looks[1], looks[3]
    assert looks[2] == wrong
    assert len({right[0], wrong[0], unknown[0]}) == 3
    assert wrong[1] > 2 * max(right[1], unknown[1])
    red, green, _ = matplotlib.colors.to_rgb(wrong[0])
    assert red > 2 * green
    red, green, _ = matplotlib.colors.to_rgb(right[0])
    assert green > 2 * red
    for axes, photograph in zip(figures[0].axes, photographs, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), photograph)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (25, 5, 5)])
def test_predictions_fill_a_grid(photographs, tmp_path, figures, count, columns, rows):
    images = (photographs * 7)[:count]
    long = "wwwwwwwwwwwwwwwwwwwwww"
    path = plot_predictions(
        images, ["cat"] * count, [long] * count, [1.0] * count, tmp_path / "p.png"
    )
    width, height = image_size(path)
    assert width / height == pytest.approx(columns / rows * 2.4 / 2.8, rel=0.02)
    titles = [box for text, box in text_boxes(figures[0]) if long[:5] in text]
    assert len(titles) == count
    assert figures[0].get_axes()[0].images[0].get_array().shape == photographs[0].shape


@pytest.mark.parametrize("cut", range(4))
def test_predictions_of_unequal_length_are_refused(photographs, tmp_path, cut):
    columns = [photographs[:2], ["cat", None], ["cat", "dog"], [0.5, 0.6]]
    columns[cut] = columns[cut][:1]
    with pytest.raises(ValueError, match="as many true names"):
        plot_predictions(*columns, tmp_path / "x.png")


@pytest.mark.parametrize("count", [0, 26])
def test_predictions_of_none_or_too_many_are_refused(photographs, tmp_path, count):
    with pytest.raises(ValueError, match=rf"1 to 25 images.*received {count}, "):
        plot_predictions(
            photographs[:1] * count, ["a"] * count, ["a"] * count, [1.0] * count, tmp_path / "x.png"
        )


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)],
)
def test_images_that_are_not_rgb_uint8_are_refused(tmp_path, image):
    with pytest.raises(ValueError, match=r"uint8 images .*received"):
        plot_predictions([image], ["a"], ["a"], [1.0], tmp_path / "x.png")


# ---- architecture


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


# ---- for all pictures


def test_folders_are_made_and_the_path_is_kept(tmp_path):
    for name in ("new/deep/h.png", "h.jpg", "without_suffix"):
        path = plot_history({"loss": [1.0, 0.5]}, tmp_path / name, best_epoch=None)
        assert path == tmp_path / name
        assert image_size(path)[0] > 300


def test_pictures_need_neither_pyplot_nor_a_display(tmp_path):
    program = (
        "import sys; from pathlib import Path; from transfer import metrics\n"
        "from transfer.images import structuring; from transfer.pictures import curves\n"
        "heavy = {'matplotlib', 'sklearn', 'keras', 'tensorflow'} & set(sys.modules)\n"
        f"curves.plot_history({{'loss': [1.0]}}, Path({str(tmp_path / 'h.png')!r}), best_epoch=0)\n"
        "print(heavy, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set() False"
    assert image_size(tmp_path / "h.png")

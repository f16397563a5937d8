"""The exported classifier says what the cached path says, anywhere, from raw pixels."""

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import asdict

import keras
import numpy as np
import pytest

from transfer.backbones.body import feature_body
from transfer.backbones.building import build_backbone
from transfer.backbones.cuts import cut_backbone, resolve_cuts
from transfer.backbones.options import BackboneOptions
from transfer.classifier import (
    CARD,
    ClassifierCard,
    as_probabilities,
    build_classifier,
    load_classifier,
    read_card,
    read_members,
    save_classifier,
    top_classes,
)
from transfer.errors import InputError
from transfer.extraction.keras_engine import KerasEngine
from transfer.heads.building import build_head
from transfer.heads.features import feature_statistics
from transfer.heads.options import HeadOptions
from transfer.images.decoding import resize
from transfer.images.imageset import Batch

RNG = np.random.default_rng(0)

ONE_OF_EVERY_PREPROCESSING = {
    "tf": BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=64, cut=("blocks",)),
    "caffe": BackboneOptions("VGG16", "none", image_size=32, pooling="flatten"),
    "torch": BackboneOptions(
        "DenseNet121", "none", image_size=32, pooling="max", cut=("pool2_relu",)
    ),
    "none": BackboneOptions("MobileNetV3Small", "none", image_size=48, cut=("blocks",)),
    "lite": BackboneOptions("EfficientNetLite0", "imagenet", image_size=64, cut=("blocks",)),
}


def photographs(sizes):
    """Smooth colourful images: noise alone is nothing a network sees in life."""
    small = RNG.integers(0, 256, (len(sizes), 4, 5, 3), dtype=np.uint8)
    return [
        np.rint(resize(image, size)).astype(np.uint8)
        for image, size in zip(small, sizes, strict=True)
    ]


def parts(options, head_options=HeadOptions(hidden=(16,)), num_classes=3):
    """Backbone, features of some images by the cached path, and a head on them."""
    model = build_backbone(options)
    backbone = cut_backbone(model, resolve_cuts(model, options))
    body = feature_body(backbone, options)
    images = photographs([(70, 90), (20, 30), (64, 64), (33, 120)])
    size = options.resolved_image_size()
    resized = np.stack([resize(image, size) for image in images])
    ((_, features),) = KerasEngine(body, 4).run([Batch(slice(0, 4), resized)])
    joined = np.concatenate(features, -1)
    mean, variance = feature_statistics(joined)
    head = build_head(head_options, mean, variance, joined.shape[1:], num_classes)
    return backbone, head, images, joined


@pytest.mark.parametrize("kind", ONE_OF_EVERY_PREPROCESSING)
def test_pixels_and_cached_features_agree(kind, tmp_path):
    options = ONE_OF_EVERY_PREPROCESSING[kind]
    backbone, head, images, features = parts(options)
    cached = head.predict(features, verbose=0)
    assert cached.max(1).std() > 1e-3  # the images differ for this head
    path = tmp_path / "classifier.keras"
    save_classifier(build_classifier(backbone, head, options), card(), path)
    loaded, _ = load_classifier(path)
    # Two sizes through predict, which compiles anew for each, and one through a plain call.
    for image, expected in zip(images[:2], cached[:2], strict=True):
        np.testing.assert_allclose(loaded.predict(image[None], verbose=0)[0], expected, atol=1e-3)
    np.testing.assert_allclose(np.asarray(loaded(images[2][None]))[0], cached[2], atol=1e-3)


def card():
    return ClassifierCard(("cat", "dog", "fish"), "MobileNetV2", (64, 64), ("out_relu",), "avg")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    options = ONE_OF_EVERY_PREPROCESSING["tf"]
    backbone, head, images, features = parts(options)
    path = tmp_path_factory.mktemp("saved") / "classifier.keras"
    save_classifier(build_classifier(backbone, head, options), card(), path)
    np.save(path.with_name("image.npy"), images[0])
    return path, head.predict(features, verbose=0)[0]


def test_it_loads_where_there_is_only_keras(saved):
    path, expected = saved
    program = textwrap.dedent(
        """
        import json, sys, zipfile
        sys.modules.update(transfer=None, cache=None, pipelines=None)
        import keras, numpy
        model = keras.models.load_model(sys.argv[1], safe_mode=True)
        image = numpy.load(sys.argv[2])
        names = json.loads(zipfile.ZipFile(sys.argv[1]).read("classifier.json"))["class_names"]
        probabilities = model.predict(image[None], verbose=0)[0].tolist()
        print(json.dumps([names, probabilities]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(path.with_name("image.npy"))],
        capture_output=True,
        text=True,
        check=True,
    )
    names, probabilities = json.loads(done.stdout.splitlines()[-1])
    assert names == ["cat", "dog", "fish"]
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


def test_the_backbone_is_frozen_in_the_file_too(saved):
    path, _ = saved
    body = load_classifier(path)[0].get_layer("body")
    head = body.get_layer("head")
    assert body.trainable_variables
    assert {v.path for v in body.trainable_variables} == {v.path for v in head.trainable_variables}


def test_it_holds_no_lambda_and_no_code_of_ours(saved):
    with zipfile.ZipFile(saved[0]) as archive:
        config = archive.read("config.json").decode()
    assert "Lambda" not in config
    assert "transfer" not in config
    assert load_classifier(saved[0])[0].input_shape == (None, None, None, 3)


def test_the_card_comes_back(saved, tmp_path):
    assert read_card(saved[0]) == card()
    with pytest.raises(InputError, match="transfer head"):
        read_card(tmp_path / "none.keras")
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=CARD):
        read_card(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_text("no zip")
    with pytest.raises(InputError, match="no classifier saved by this project"):
        load_classifier(tmp_path / "text.keras")


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved[0].read_bytes()
    model, _ = load_classifier(saved[0])
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_classifier(model, card(), saved[0])
    assert saved[0].read_bytes() == before
    assert not list(saved[0].parent.glob(".writing*"))


class Stub:
    """In place of a model: writes a file as Keras does, after something else has happened."""

    def __init__(self, before=lambda: None):
        self.save = lambda path: (before(), zipfile.ZipFile(path, "w").close())


def test_members_travel_in_the_file_and_are_read_without_keras(tmp_path):
    path = tmp_path / "classifier.keras"
    save_classifier(Stub(), card(), path, {"notes.json": b"{}", "array": b"\x00\x01"})
    assert read_members(path, "array", "notes.json") == [b"\x00\x01", b"{}"]
    assert read_card(path) == card()
    with pytest.raises(InputError, match=r"no nothing inside"):
        read_members(path, "nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "holds a classifier.json that is no JSON"),
        ("[]", "is expected to say its backbone, class_names, cuts, image_size, pooling"),
        (json.dumps(asdict(card()) | {"aura": 1}), r"newer version .* \(it says aura\)"),
    ],
)
def test_a_card_of_another_kind_or_version_is_refused_in_a_line(tmp_path, text, said):
    path = tmp_path / "classifier.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CARD, text)
    with pytest.raises(InputError, match=said):
        read_card(path)


def test_code_in_a_file_is_refused_in_a_line_and_not_run(tmp_path):
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Lambda(lambda x: x)(pixels))
    path = tmp_path / "classifier.keras"
    save_classifier(model, card(), path)
    with pytest.raises(InputError, match="that this Keras can load safely") as refused:
        load_classifier(path)
    assert "\n" not in str(refused.value)


def test_of_two_that_save_at_once_one_wins_whole(tmp_path):
    path = tmp_path / "classifier.keras"

    def other():
        save_classifier(Stub(), card(), path, {"who": b"other"})

    save_classifier(Stub(before=other), card(), path, {"who": b"one"})
    assert read_members(path, "who") == [b"one"]
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_what_a_kill_left_a_day_ago_is_removed(tmp_path):
    old, new, others = (
        tmp_path / f".writing-{name}.keras" for name in ("1-model", "2-model", "1-other")
    )
    for leftover in (old, new, others):
        leftover.touch()
    for leftover in (old, others):
        os.utime(leftover, (0, 0))
    save_classifier(Stub(), card(), tmp_path / "model.keras")
    assert not old.exists() and new.exists() and others.exists()


KILLED = """
import os, signal, sys, zipfile
from pathlib import Path
from transfer.classifier import ClassifierCard, read_members, save_classifier

path = Path(sys.argv[1])
card = ClassifierCard(("a", "b"), "VGG16", (32, 32), ("top",), "avg")

class Stub:
    def save(self, path):
        zipfile.ZipFile(path, "w").close()

def save(content):
    save_classifier(Stub(), card, path, {"content": content})

def die_at(number):
    done = 0
    def count(event, arguments):
        nonlocal done
        if arguments and str(path.parent) in str(arguments[0]):
            done += 1
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)

save(b"old")
for step in range(1, 1000):
    child = os.fork()
    if not child:
        die_at(step)
        save(b"new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), read_members(path, "content")[0].decode())
    if not status:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_killed_before_any_change_of_the_disk_the_file_is_the_old_or_the_new_one(tmp_path):
    """At each time that a file is opened, renamed or removed."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run" / "classifier.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [code for code, _ in lines] == ["-9"] * (len(lines) - 1) + ["0"]
    contents = [content for _, content in lines]
    assert contents == sorted(contents, reverse=True)  # old up to the renaming, then new
    assert contents.count("old") >= 4 and contents[-1] == "new"


def test_sigmoid_outputs_get_two_columns():
    outputs = np.array([[0.25], [1.0]])
    np.testing.assert_allclose(as_probabilities(outputs), [[0.75, 0.25], [0, 1]])
    softmax = np.array([[0.5, 0.3, 0.2]])
    assert as_probabilities(softmax) is softmax


def test_top_classes_come_best_first():
    probabilities = np.array([[0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    assert top_classes(probabilities, ("a", "b", "c"), 2) == [
        [("b", 0.7), ("a", 0.2)],
        [("c", 0.8), ("a", 0.1)],
    ]

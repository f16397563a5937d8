"""A classifier that trains in a second, and images that it can learn."""

from dataclasses import replace

import keras
import numpy as np

from transfer.backbones.options import BackboneOptions
from transfer.backend.layers import leaf_layers
from transfer.classifier import build_classifier
from transfer.finetuning.image_batches import DecodedImages, ImageBatches
from transfer.finetuning.tuning import Batches, LossModel, Tuner
from transfer.finetuning.unfreezing import unfreeze
from transfer.heads.building import build_head
from transfer.heads.options import HeadOptions
from transfer.images.imageset import ImageSet

OPTIONS = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)


def image_set(num_train=24, num_val=12, size=16):
    """Reddish and bluish noise."""
    return noise(["train"] * num_train + ["val"] * num_val, (size, size))


def noise(split, size):
    """The same, with any splits, of any height and width."""
    rng = np.random.default_rng(0)
    rows = len(split)
    labels = np.arange(rows) % 2
    pixels = rng.integers(0, 120, (rows, *size, 3), dtype=np.uint8)
    pixels[labels == 0, ..., 0] += 100
    pixels[labels == 1, ..., 2] += 100
    return ImageSet(
        ids=np.array([f"{row:03d}" for row in range(rows)], object),
        labels=labels,
        class_names=("red", "blue"),
        split=np.array(split),
        source=pixels,
        members=np.arange(rows),
    )


def classifier(batch_norm=True, views=("identity",)):
    """Four convolutions with batch norm, as a backbone that trains in a second."""
    pixels = x = keras.Input((32, 32, 3))
    for block in range(1, 5):
        convolution = keras.layers.Conv2D(
            8 * block, 3, strides=2, padding="same", name=f"block_{block}_conv"
        )
        x = keras.layers.BatchNormalization(name=f"block_{block}_norm")(convolution(x))
        x = keras.layers.ReLU(name=f"block_{block}_relu")(x)
    backbone = keras.Model(pixels, [x], name="backbone")
    head = build_head(
        HeadOptions(hidden=(8,), batch_norm=batch_norm), np.zeros(32), np.ones(32), (32,), 2
    )
    return build_classifier(backbone, head, replace(OPTIONS, views=views))


def batch_norms(model):
    return [layer for layer in leaf_layers(model) if "BatchNormalization" in type(layer).__name__]


def seeded_classifier(**options):
    """The same weights each time."""
    keras.utils.set_random_seed(0)
    return classifier(**options)


def labels_for(batches, images, rows, options):
    """Batches for a `LossModel` of what gives pixels, or stored outputs, of some rows."""
    labels = images.labels[rows]
    sure = np.eye(len(images.class_names), dtype=np.float32)[labels]
    smoothing = options.label_smoothing
    targets = (1 - smoothing) * sure + np.float32(smoothing / len(images.class_names))
    weights = np.ones(len(rows), np.float32)
    return Batches(batches, targets, weights, labels, options.batch_size)


def tuner_of(model, which, options, steps=10, preparing=(), mixing=()):
    """Trains a classifier on pixels."""
    depths = unfreeze(model, which).depths
    body = model.get_layer("body")
    backbone, head = body.get_layer("backbone"), body.get_layer("head")
    return Tuner(LossModel(body, preparing, mixing), backbone, head, depths, options, steps)


def train_on_pixels(
    model, images, options, folder, which="all", changes=(), mixing=(), report=None, tuner=None
):
    """Trains a classifier on the training images of a set, and leaves the averages in it."""
    rows = np.flatnonzero(images.split == "train")
    decoded = DecodedImages(images, (32, 32))
    steps = -(-len(rows) // options.batch_size) * options.epochs
    preparing = [*decoded.preparing_layers(), *changes]
    tuner = tuner or tuner_of(model, which, options, steps, preparing, mixing)

    def batches(epoch):
        pixels = ImageBatches(decoded, rows, options.batch_size, options.seed, epoch)
        return labels_for(pixels, images, rows, options)

    more = {"report": report} if report else {}
    trained = tuner.train(batches, options.learning_rate, folder, **more)
    tuner.set_weights(trained.weights)
    return tuner, trained

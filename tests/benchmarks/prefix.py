"""An epoch of fine-tuning the last third of blocks: stored outputs of the rest, and pixels."""

import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.timing import compare
from transfer.backbones.options import BackboneOptions
from transfer.backend.startup import import_keras

IMAGES, BATCH, CLASSES = 256, 32, 5
GOAL = 3.0


def prefix() -> list[dict]:
    """EfficientNetLite0 @160 with a head on all cuts; random weights change no time."""
    import_keras()
    import keras

    from pipelines.finetuning.inputs import Pixels, StoredPrefix
    from transfer.backbones.building import build_backbone
    from transfer.backbones.cuts import cut_backbone, resolve_cuts
    from transfer.classifier import build_classifier
    from transfer.finetuning.augmentation import AugmentOptions
    from transfer.finetuning.options import FinetuneOptions
    from transfer.finetuning.suffix import divide
    from transfer.finetuning.unfreezing import unfreeze
    from transfer.heads.building import build_head
    from transfer.heads.options import HeadOptions
    from transfer.images.imageset import ImageSet

    options = BackboneOptions("EfficientNetLite0", "none", image_size=160, cut=("blocks",))
    whole = build_backbone(options)
    backbone = cut_backbone(whole, resolve_cuts(whole, options))
    width = sum(output.shape[-1] for output in backbone.outputs)
    head = build_head(HeadOptions(), np.zeros(width), np.ones(width), (width,), CLASSES)
    classifier = build_classifier(backbone, head, options)
    unfrozen = unfreeze(classifier, "blocks:6")
    division = divide(classifier.get_layer("body").get_layer("backbone"), unfrozen.place or "")
    rng = np.random.default_rng(0)
    images = ImageSet(
        ids=np.array([str(row) for row in range(IMAGES)], object),
        labels=np.arange(IMAGES) % CLASSES,
        class_names=tuple(map(str, range(CLASSES))),
        split=np.full(IMAGES, "train"),
        source=rng.integers(0, 256, (IMAGES, 160, 160, 3), np.uint8),
        members=np.arange(IMAGES),
    )
    tensors = {operation.name: operation.output for operation in backbone.operations}
    shapes = [
        tensors[division.place].shape[1:],
        *[tensors[cut].shape[-1:] for cut in division.early],
    ]
    stored = [rng.random((IMAGES, 1, *shape), np.float32) for shape in shapes]
    inputs = (
        Pixels(classifier, images, AugmentOptions(), 0, 2**30),
        StoredPrefix(classifier, division, "avg", stored),
    )
    body, fit = classifier.get_layer("body"), FinetuneOptions(epochs=1, learning_rate=1e-6)
    from_pixels, from_store = (_epoch(each, images, body, unfrozen.depths, fit) for each in inputs)
    what = f"an epoch of {IMAGES} images, EfficientNetLite0 @160, {unfrozen.in_words}"
    keras.backend.clear_session()
    return [
        compare(f"{what}: from pixels / from stored outputs", from_pixels, from_store, goal=GOAL)
    ]


def _epoch(inputs, images, body, depths, options):  # type: ignore[no-untyped-def]
    from pipelines.finetuning.folds import Fold
    from pipelines.finetuning.judging import Trainings

    rows = np.arange(IMAGES)
    fold = Fold(rows, rows[:1], None, 0.0)
    trainings = Trainings(inputs, images.labels, CLASSES, body, depths, [fold], options)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainings.tuner.train(
                lambda epoch: trainings.batches(rows, 0, epoch), 1e-6, Path(folder)
            )

    return run

"""What tests of exported models share: a card, and pictures."""

import numpy as np

from transfer.classifier import ClassifierCard

CARD = ClassifierCard(("cat", "dog", "fish"), "MobileNetV2", (8, 6), ("top",), "avg")
OTHERS = ("savedmodel", "litert", "onnx", "openvino")
"""Formats that are not Keras's own."""


def images(sizes=((5, 9), (8, 6), (40, 31)), count=3):
    """Batches of smooth pictures, a batch a size."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (len(sizes), count, 4, 4, 3), dtype=np.uint8)
    return [
        batch[:, np.arange(height) * 4 // height][:, :, np.arange(width) * 4 // width]
        for batch, (height, width) in zip(small, sizes, strict=True)
    ]

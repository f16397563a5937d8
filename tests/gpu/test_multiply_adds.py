"""The count of operations that the share of an accelerator's peak is computed from."""

import pytest

from tests.gpu.throughput import multiply_adds
from tests.transfer.backbones.random_backbones import shapes_only
from transfer.backbones.options import BackboneOptions
from transfer.extraction.extraction import build_extractor

# In millions, with the last layer. Source: the papers and timm's results-imagenet.csv; for
# EfficientNetLite0 XLA's cost analysis, which counts activations, too.
KNOWN = {
    ("MobileNetV2", 224): 300,
    ("EfficientNetLite0", 224): 390,
    ("InceptionV3", 299): 5_730,
    ("InceptionResNetV2", 299): 13_180,
}


@pytest.mark.parametrize(("name", "side"), KNOWN)
def test_known_counts_are_met(name, side):
    with shapes_only():
        _, body = build_extractor(BackboneOptions(name, "none", image_size=side, cut=("top",)))
    assert multiply_adds(body) == pytest.approx(1e6 * KNOWN[name, side], rel=0.05)

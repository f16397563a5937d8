"""What trains where nobody says: by how many images there are and what computes."""

import math
from typing import TYPE_CHECKING

from transfer.backend.devices import has_accelerator

if TYPE_CHECKING:
    import keras


def chosen_by_size(classifier: "keras.Model", num_images: int) -> tuple[str, str]:
    """What to unfreeze, and why.

    Args:
        classifier: From `build_classifier`.
        num_images: That features were made of.
    """
    import keras

    from transfer.backbones.blocks import blocks_of

    if has_accelerator():
        return "all", "there is an accelerator"
    backbone = classifier.get_layer("body").get_layer("backbone")
    blocks = blocks_of(keras.Model(backbone.input, backbone.outputs[-1]))
    half = math.ceil(len(blocks) / 2)
    return f"blocks:{half}", "the last half: the frozen half in front is run only once"

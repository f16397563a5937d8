"""What trains where nobody says: by what computes."""

import math
from typing import TYPE_CHECKING

from transfer.backend.devices import has_accelerator

if TYPE_CHECKING:
    import keras


def what_to_unfreeze(classifier: "keras.Model") -> tuple[str, str]:
    """What to unfreeze, and why.

    Args:
        classifier: From `build_classifier`.
    """
    from transfer.backbones.blocks import blocks_of
    from transfer.finetuning.unfreezing import path_to_head

    if has_accelerator():
        return "all", "there is an accelerator"
    half = math.ceil(len(blocks_of(path_to_head(classifier))) / 2)
    return f"blocks:{half}", "the last half: the frozen half in front is run only once"

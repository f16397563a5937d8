"""How a classifier is fine-tuned."""

import math
from dataclasses import dataclass
from typing import Literal

from transfer.errors import InputError


@dataclass(frozen=True)
class FinetuneOptions:
    """How the unfrozen layers and the head are trained."""

    epochs: int = 6
    """Passes over the training images."""
    batch_size: int = 32
    """Images of one gradient step."""
    learning_rate: float | None = None
    """Highest rate of the schedule, which rises and then falls as a cosine; by default a short
    test on some hundred images finds it."""
    warmup: float = 0.1
    """Share of the steps in which the rate first rises from zero."""
    depth_decay: float = 1.0
    """Factor on the rate of each block, compared with that of the block behind it."""
    head_rate: float = 0.1
    """Factor on the rate of the head; less for heads on more than 1,280 features, whose logits
    move further with each step."""
    weight_decay: float = 0.01
    """Decoupled weight decay of kernels, times the learning rate; norms and biases have none."""
    clip: float = 1.0
    """Largest norm of the gradient of all weights together."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one step, where memory is short."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Balanced: classes count as if they had equally many images."""
    seed: int = 0
    """Of the order of images and of their random changes."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"--{name.replace('_', '-')} expects at least 1, received {getattr(self, name)}"
                )
        for name in ("learning_rate", "clip", "depth_decay"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(
                    f"--{name.replace('_', '-')} expects more than 0, received {value}"
                )
        for name in ("weight_decay", "head_rate", "seed"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} expects at least 0, received {value}")
        for name in ("warmup", "label_smoothing"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(
                    f"--{name.replace('_', '-')} expects a share from 0 up to 1, received {value}"
                )

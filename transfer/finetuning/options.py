"""How a classifier is fine-tuned."""

from dataclasses import dataclass
from typing import Literal

from transfer.errors import check_range


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
        check_range(self, "at least 1", "epochs", "batch_size", "accumulate")
        check_range(self, "more than 0", "learning_rate", "clip", "depth_decay")
        check_range(self, "at least 0", "weight_decay", "head_rate", "seed")
        check_range(self, "a share from 0 up to 1", "warmup", "label_smoothing")

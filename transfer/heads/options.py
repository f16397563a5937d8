"""What a head is, and how it is trained."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from transfer.errors import InputError, check_range


@dataclass(frozen=True)
class HeadOptions:
    """The layers of a head, between features and probabilities."""

    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers; none makes a linear head."""
    activation: str = "relu"
    """Activation of the hidden layers, any name that Keras knows."""
    batch_norm: bool = False
    """Batch normalization between each hidden layer and its activation."""
    dropout: float = 0.0
    """Share of activations dropped before each dense layer while training, 0 to 1."""
    l2: float | None = None
    """Penalty on the squares of the dense kernels; by default 0.01 for a linear head, 0 with hidden
    layers."""
    output: Literal["softmax", "sigmoid"] = "softmax"
    """Sigmoid: one output, for two classes only; the probability of the second class."""

    @property
    def resolved_l2(self) -> float:
        """The penalty, or its default.

        Measured on validation, linear, 0.01 against 0: 0.8746 and 0.8645 on 10,240 features of
        CIFAR-10, 0.7278 and 0.7262 on 1,280, 0.9940 and 0.9759 on 10,240 features of digits.
        Hidden layers are better off with dropout.
        """
        if self.l2 is not None:
            return self.l2
        return 0.0 if self.hidden else 0.01

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Names of options that change nothing, given the others."""
        return () if self.hidden else ("activation", "batch_norm")

    def effective(self) -> "HeadOptions":
        """Options of the same head, equal to those of any other that is the same.

        Options without effect have their defaults, and the penalty is said.
        """
        defaults = {name: getattr(HeadOptions, name) for name in self.without_effect}
        return replace(self, **defaults, l2=self.resolved_l2)


@dataclass(frozen=True)
class FitOptions:
    """How a model is trained."""

    epochs: int = 30
    """Passes over the training rows, at most."""
    batch_size: int | None = None
    """Rows of one gradient step; by default 16 to 256, so that small sets get enough steps."""
    learning_rate: float | None = None
    """Highest rate of the schedule; by default 0.001, less for heads on very wide features."""
    schedule: Literal["constant", "exponential", "cosine", "plateau"] = "cosine"
    """How the learning rate falls: not, by a factor per epoch, as a cosine to zero, or by half
    whenever validation stops improving."""
    decay: float = 0.9
    """Factor per epoch of the exponential schedule."""
    warmup_epochs: float = 0.0
    """Epochs in which the cosine schedule first rises from zero."""
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    """Update rule; sgd has Nesterov momentum."""
    momentum: float = 0.9
    """Of sgd: share of the last step that the next one keeps."""
    beta_1: float = 0.9
    """Of adam and adamw: share of the mean gradient that a step keeps."""
    beta_2: float = 0.999
    """Of adam and adamw: share of the mean squared gradient that a step keeps."""
    weight_decay: float = 0.0
    """Decoupled weight decay per step, times the learning rate."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Balanced: classes count as if they had equally many images."""
    patience: int = 10
    """Epochs without improvement after which training stops."""
    monitor: Literal["val_loss", "val_accuracy"] = "val_accuracy"
    """What improvement means; the best epoch's weights are kept."""
    shuffle: bool = True
    """Shuffle the training rows in every epoch."""
    seed: int = 0
    """Of initial weights, dropout and shuffling."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        check_range(self, "at least 1", "epochs", "batch_size", "patience")
        check_range(self, "more than 0", "learning_rate")
        check_range(self, "at least 0", "warmup_epochs", "weight_decay", "seed")
        if not 0 < self.decay <= 1:
            raise InputError(f"--decay expects a factor above 0 and up to 1, received {self.decay}")
        check_range(
            self, "a share from 0 up to 1", "label_smoothing", "momentum", "beta_1", "beta_2"
        )

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Names of options that change nothing, given the others."""
        is_adam = self.optimizer in ("adam", "adamw")
        has_effect = {
            "decay": self.schedule == "exponential",
            "warmup_epochs": self.schedule == "cosine",
            "momentum": self.optimizer == "sgd",
            "beta_1": is_adam,
            "beta_2": is_adam,
        }
        return tuple(name for name, has in has_effect.items() if not has)

    def effective(self) -> "FitOptions":
        """Options that train the same, equal to those of any other that do, on any features.

        Options without effect have their defaults. Batch size and learning rate may be left open,
        because what they are then depends on the features.
        """
        defaults = {name: getattr(FitOptions, name) for name in self.without_effect}
        # Adam's weight decay is decoupled here, and that is all that AdamW is.
        optimizer = "adam" if self.optimizer == "adamw" else self.optimizer
        return replace(self, **defaults, optimizer=optimizer)

    @property
    def plateau_patience(self) -> int:
        """Epochs without improvement after which the plateau schedule halves the rate."""
        return max(1, self.patience // 3)

    def batch_size_for(self, num_rows: int) -> int:
        """The batch size, or the largest power of two, 16 to 256, that gives an epoch 32 steps.

        480 rows in batches of 256 would be 60 steps in 30 epochs, too few to learn anything.
        """
        fitting = 2 ** int(math.log2(max(1, num_rows / 32)))
        return self.batch_size or min(256, max(16, fitting))

    def learning_rate_for(self, num_features: int) -> float:
        """The learning rate, or one that falls with the square root of wide features' number.

        A step of Adam moves each weight by about the rate, so a logit moves the more the more
        features it sums. Measured on 7,104 features, without a penalty: 0.0003 was better than
        0.001 and 0.0001.
        """
        return self.learning_rate or 1e-3 * min(1.0, math.sqrt(1280 / num_features))

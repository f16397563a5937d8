"""Who judges a fine-tuned classifier, and which heads its trainings start from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache import FeatureFile
from pipelines.heads import choosing
from pipelines.progress import waiting
from pipelines.setup import Setup

FEW = 1500
"""Images of which each judges in its fold; of more, the validation images do. Five trainings of so
many take as long as four of all of them."""

HeadWeights = list[np.ndarray]
"""Of the layers of a head, in the order of its `get_weights`."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One training.

    Attributes:
        learning: Row numbers of the images that are learned from.
        judging: Row numbers of images that are not.
        start: Weights of a head that has not seen them; None is that of the classifier.
        loss: Mean cross-entropy that this head has on them by the cached features, nats.
    """

    learning: np.ndarray
    judging: np.ndarray
    start: HeadWeights | None
    loss: float


def folds_of(
    setup: Setup, features: FeatureFile, split: np.ndarray, head: Mapping[str, Any]
) -> list[Fold]:
    """The trainings that are judged: one by the validation images, or of few images one a fold.

    Args:
        setup: Images and backbone.
        features: Their features.
        split: `(rows,)` of "train", "val" and "test".
        head: What is known of the run's head.

    Raises:
        InputError: If a head that was chosen by folds cannot be chosen again.
    """
    training, val = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
    chosen = head.get("chosen")
    if not chosen or chosen["folds"] == 1 or chosen["judged_by"] > FEW:
        return [Fold(training, val, None, head["val_loss"])]
    return _judged_in_turn(choosing.choose_again(setup, features, split, head))


def _judged_in_turn(made: choosing.Chosen) -> list[Fold]:
    from transfer.choosing.choice import heads_of_folds
    from transfer.metrics import cross_entropy

    choice, rows, numbers = made.choice, made.rows, made.plan.rows
    judge = rows.judge[choice.images]
    folds = []
    with waiting("fitting the head without each fold"):
        heads = heads_of_folds(rows, choice)
    for number, head in enumerate(heads):
        judging = choice.images[judge == number]
        if not len(judging):
            continue
        loss = cross_entropy(choice.probabilities[judge == number], rows.labels[judging])
        learning = numbers[np.flatnonzero(rows.learning[:, number])]
        start = [head.kernel, head.bias]
        folds.append(Fold(learning, numbers[judging], start, loss))
    return folds

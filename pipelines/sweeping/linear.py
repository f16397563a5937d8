"""Penalised linear heads as candidates of a sweep, on each of the features that it searches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import features as features_stage
from pipelines.heads import choosing
from pipelines.heads.saving import NewHead
from pipelines.setup import Setup

if TYPE_CHECKING:
    from transfer.choosing.judged import Judged

SHOWN = 50
"""Heads of each of the features that are listed."""


@dataclass(frozen=True)
class Place:
    """Features that heads are tried on.

    Attributes:
        setup: Images and backbone.
        cuts: Those that heads may see; all if empty.
        in_words: What the search says of them; empty if nothing.
    """

    setup: Setup
    cuts: tuple[str, ...]
    in_words: str = ""


@dataclass(frozen=True)
class LinearScore:
    """A linear head's scores on images that it has not seen, for the leaderboard.

    Attributes:
        sees: What it sees, in words.
        val_accuracy: Share of the judging images that are right.
        val_loss: Mean cross-entropy, nats.
        accuracy_error: Standard error.
        loss_error: Standard error.
    """

    sees: str
    val_accuracy: float
    val_loss: float
    accuracy_error: float
    loss_error: float


@dataclass(frozen=True, eq=False)
class Linear:
    """What was chosen on one kind of features.

    Attributes:
        place: The features.
        in_words: What was chosen.
        new: The head, to be saved.
        score: The chosen head's.
        others: Of the best that were judged, the best first, and of the chosen one.
        losses: `(judging images,)` of the chosen head, nats.
        judge: `(judging images,)` the fold of each.
        deviations: `(heads, judging images)` losses of each head less the mean over heads.
        tried: How many heads were judged.
        seconds: That it took.
    """

    place: Place
    in_words: str
    new: NewHead
    score: LinearScore
    others: tuple[LinearScore, ...]
    losses: np.ndarray
    judge: np.ndarray
    deviations: np.ndarray
    tried: int
    seconds: float

    def losses_by_fold(self) -> np.ndarray:
        """`(folds,)` mean losses."""
        folds = np.unique(self.judge)
        return np.array([self.losses[self.judge == fold].mean() for fold in folds])


def linear_heads(places: Iterable[Place], refit: bool) -> Iterator[Linear]:
    """Chooses a linear head on each of the features that a sweep searches.

    Args:
        places: The features.
        refit: Whether heads may learn from a validation split that was given.

    Yields:
        One a place; none where features are too large for the memory, which is said.
    """
    for place in dict.fromkeys(places):
        found = linear_head(place, refit)
        if found is None:
            print("sweep: linear heads are left out, they need all features in memory")
        else:
            yield found


def linear_head(place: Place, refit: bool) -> Linear | None:
    """Chooses a linear head; None where the features are too large for the memory."""
    setup = place.setup
    with features_stage.open_features(setup, again=True) as features:
        split = features_stage.split_of(features, setup.data)
        chosen = choosing.choose(setup, features, split, place.cuts, refit, thorough=True)
        if chosen is None:
            return None
        new = choosing.new_head(setup, features, split, chosen)
    from transfer.choosing.paths import losses_of

    choice = chosen.choice

    def scored(head: "Judged") -> LinearScore:
        return _score(head, place.in_words)

    calibrated = choice.chosen.logits / choice.temperature  # as the exported head says it
    score = scored(choice.chosen)
    others = [scored(head) for head in choice.judged[:SHOWN]]
    losses = np.stack([head.losses for head in choice.before or choice.judged])
    return Linear(
        place,
        choice.chosen.in_words(len(chosen.cuts)),
        new,
        score,
        tuple(others if score in others else [*others, score]),
        losses_of(calibrated, choice.chosen.labels),
        chosen.rows.judge[choice.images],
        losses - losses.mean(0),
        choice.tried,
        chosen.seconds,
    )


def _score(head: "Judged", features_in_words: str) -> LinearScore:
    from transfer.metrics import standard_error

    details: list[Any] = [head.name]
    details += [] if head.transform == "none" else [head.transform]
    details += [] if head.penalty is None else [f"penalty {head.penalty:.2g}"]
    details += [features_in_words] if features_in_words else []
    return LinearScore(
        ", ".join(details),
        head.accuracy,
        head.loss,
        standard_error(head.hits),
        standard_error(head.losses),
    )

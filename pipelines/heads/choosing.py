"""Choosing a head by itself: linear ones on the last cuts, judged on images not seen."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import FeatureFile
from pipelines.heads.saving import NewHead, OutOfFold
from pipelines.heads.training import score
from pipelines.progress import progress, waiting
from pipelines.results import print_table
from pipelines.samples import read_samples
from pipelines.setup import Setup
from transfer.backend.startup import import_keras
from transfer.heads.samples import Samples
from transfer.images.sources import groups_in
from transfer.images.splits import assign_folds

if TYPE_CHECKING:
    from transfer.choosing.choice import Choice
    from transfer.choosing.judged import Judged
    from transfer.choosing.rows import Rows
    from transfer.metrics import Evaluation

FOLDS = 5
FEW_TO_JUDGE = 200
"""Validation images that are too few to choose by: one is half a point of accuracy."""
MANY = 20_000
"""Images of which a tenth judges as well as all would in turn."""
SHOWN = 5
"""Candidates in the table."""


@dataclass(frozen=True)
class Plan:
    """Who judges, and what the head is fitted to in the end.

    Attributes:
        rows: Increasing row numbers that take part.
        training: `(rows,)` bool, those of the training split.
        final: `(rows,)` bool, those that the exported head is fitted to.
        holdout: Whether the validation images judge, and not each image in its fold.
    """

    rows: np.ndarray
    training: np.ndarray
    final: np.ndarray
    holdout: bool

    def in_words(self, judging: int) -> str:
        """Who judges, and why."""
        if self.holdout:
            return f"judged by {judging:,} validation images"
        val = int((~self.training).sum())
        few = f": {val:,} for validation would be few to choose by" if val < FEW_TO_JUDGE else ""
        return f"judged by {judging:,} images, each when held out, in {FOLDS} folds{few}"


def plan_of(split: np.ndarray, is_given: bool, refit: bool) -> Plan:
    """Says who judges.

    Few images are cross-validated, training and validation images together; of many, those for
    validation judge. A validation split that was given is learned from only if `refit` asks for it:
    it judges if it is large enough, else the training images are cross-validated without it.

    Args:
        split: `(rows,)` of "train", "val" and "test".
        is_given: Whether the validation split was given, and not carved by us.
        refit: Whether the head may learn from it all the same.
    """
    kept_out = is_given and not refit
    num_val = int((split == "val").sum())
    holdout = num_val >= FEW_TO_JUDGE and (kept_out or int((split != "test").sum()) >= MANY)
    rows = np.flatnonzero(split == "train" if kept_out and not holdout else split != "test")
    training = split[rows] == "train"
    return Plan(rows, training, training if kept_out else np.ones(len(rows), bool), holdout)


def choose(
    setup: Setup, features: FeatureFile, split: np.ndarray, cuts: tuple[str, ...], refit: bool
) -> NewHead | None:
    """Chooses a head, and says how.

    Args:
        setup: Images and backbone.
        features: Their features.
        split: `(rows,)` of "train", "val" and "test".
        cuts: Those that it may see; all if empty.
        refit: Whether it may learn from a validation split that was given.

    Returns:
        The head, fitted to all images that it may learn from, and to the training images alone.
        None where the features are too large for the memory, after saying so.

    Raises:
        InputError: If no class has two images.
    """
    plan = plan_of(split, bool(np.any(features.given_split == "val")), refit)
    # From the input towards the top, in whatever order they are asked for.
    cuts = tuple(cut for cut in features.cuts if cut in cuts or not cuts)
    with waiting("reading the features"):
        (samples,) = read_samples(features, [plan.rows], cuts, setup.memory_budget)
    if not isinstance(samples.features, np.ndarray):
        print("head: choosing needs the features in memory; one head is trained in its place")
        return None
    started = time.monotonic()
    rows = _rows(features, samples, samples.features, plan, cuts, setup)
    from transfer.choosing.choice import choose as choose_among

    with progress("choosing", 1, "heads") as update:
        choice = choose_among(rows, lambda done, of: update(done / of))
    seconds = time.monotonic() - started
    _show(choice, plan, len(features.cuts), seconds)
    new = _new_head(choice, plan, features, cuts, rows, seconds)
    return replace(new, scores=_scores(setup, features, split, new))


def _rows(
    features: FeatureFile,
    samples: Samples,
    values: np.ndarray,
    plan: Plan,
    cuts: Sequence[str],
    setup: Setup,
) -> "Rows":
    from transfer.choosing.rows import Rows

    groups = groups_in(features.ids, setup.data)
    folds = assign_folds(
        features.ids[plan.rows],
        samples.image_labels,
        features.class_names,
        FOLDS,
        None if groups is None else groups[plan.rows],
    )
    shape = values.shape[1:]
    has_positions = len(shape) > 1
    widths = [math.prod(shape)] if has_positions else [features.shape(cut)[-1] for cut in cuts]
    return Rows(
        values.reshape(len(values), -1),
        samples.image_labels,
        len(features.class_names),
        tuple(widths),
        folds,
        plan.training,
        plan.final,
        plan.holdout,
        samples.views,
        shape[-1] if has_positions else None,
    )


def _show(choice: "Choice", plan: Plan, num_cuts: int, seconds: float) -> None:
    """What was compared, the best few, the choice and why."""
    from transfer.choosing.judged import standard_error

    def cells(head: "Judged") -> list[object]:
        return [
            head.name,
            head.transform,
            "" if head.penalty is None else f"{head.penalty:.2g}",
            f"{head.accuracy:.4f} +- {standard_error(head.hits):.4f}",
            f"{head.loss:.4f} +- {standard_error(head.losses):.4f}",
        ]

    shown = list(choice.judged[:SHOWN])
    if choice.chosen not in shown:
        shown.append(choice.chosen)
    judging = plan.in_words(len(choice.images))
    print_table(
        f"{choice.tried} linear heads {judging}",
        ["sees", "transform", "penalty", "accuracy", "log loss"],
        [cells(head) for head in shown],
    )
    best = choice.judged[0]
    why = "of the lowest log loss"
    if choice.chosen is not best:
        why = "the simplest within a standard error of the lowest log loss"
    print(f"head: chose {choice.chosen.name}, {why}, in {seconds:.1f} s")


def _new_head(
    choice: "Choice",
    plan: Plan,
    features: FeatureFile,
    cuts: tuple[str, ...],
    rows: "Rows",
    seconds: float,
) -> NewHead:
    from transfer.choosing.building import build_linear_head
    from transfer.choosing.judged import standard_error

    import_keras()
    cuts = cuts[-choice.chosen.cuts :]
    shape = features.joined_shape(cuts)[len(features.spec.views) > 1 :]
    final = build_linear_head(choice.final, shape)
    has_seen_val = bool(plan.final[~plan.training].any())
    training = build_linear_head(choice.training, shape) if has_seen_val else None
    chosen = choice.chosen
    out_of_fold = OutOfFold(
        features.ids[plan.rows[choice.images]],
        rows.labels[choice.images],
        rows.judge[choice.images],
        choice.probabilities,
    )
    notes: dict[str, Any] = {
        "refitted": has_seen_val,
        "chosen": {
            "sees": chosen.name,
            "transform": chosen.transform,
            "penalty": chosen.penalty,
            "temperature": choice.temperature,
            "tried": choice.tried,
            "judged_by": len(choice.images),
            "folds": 1 if plan.holdout else FOLDS,
            "accuracy": chosen.accuracy,
            "accuracy_error": standard_error(chosen.hits),
            "loss": chosen.loss,
            "loss_error": standard_error(chosen.losses),
        },
    }
    return NewHead(
        final,
        cuts,
        out_of_fold.scores(features.class_names),
        notes,
        seconds,
        training=training,
        out_of_fold=out_of_fold,
    )


def _scores(setup: Setup, features: FeatureFile, split: np.ndarray, new: NewHead) -> "Evaluation":
    """Of the validation images, by the fit to training images; without any, those out of fold."""
    val = np.flatnonzero(split == "val")
    if not len(val):
        return new.scores
    (samples,) = read_samples(features, [val], new.cuts, setup.memory_budget)
    return score(new.training or new.model, samples, features.class_names, "val")

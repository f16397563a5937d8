"""Choosing a head by itself: linear ones on the last cuts, judged on images not seen."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.heads.saving import NewHead
from pipelines.heads.training import score
from pipelines.out_of_fold import OutOfFold
from pipelines.progress import progress, waiting
from pipelines.results import print_table
from pipelines.samples import read_samples
from pipelines.setup import Setup
from transfer.backend.startup import import_keras
from transfer.errors import InputError
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
SAME = 1e-4
"""Difference in log loss, nats, of a choice that is made twice."""
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
        num_val: Validation images, also those that take no part.
    """

    rows: np.ndarray
    training: np.ndarray
    final: np.ndarray
    holdout: bool
    num_val: int

    def in_words(self, judging: int) -> str:
        """Who judges, and why."""
        if self.holdout:
            return f"judged by {judging:,} validation images"
        few = ""
        if 0 < self.num_val < FEW_TO_JUDGE:
            few = f": {self.num_val:,} for validation would be few to choose by"
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
    final = training if kept_out else np.ones(len(rows), bool)
    return Plan(rows, training, final, holdout, num_val)


@dataclass(frozen=True, eq=False)
class Chosen:
    """What was chosen on the features of a file, and on which rows.

    Attributes:
        choice: The heads that were judged, and one of them.
        plan: Who judged.
        rows: Labels, and which image judged in which fold.
        cuts: Those that a head could see.
        seconds: That it took.
        asked: What `choose` was asked, beside the features: `refit` and `thorough`.
    """

    choice: "Choice"
    plan: Plan
    rows: "Rows"
    cuts: tuple[str, ...]
    seconds: float
    asked: dict[str, bool]


def choose(
    setup: Setup,
    features: FeatureFile,
    split: np.ndarray,
    cuts: tuple[str, ...],
    refit: bool,
    thorough: bool = False,
) -> Chosen | None:
    """Chooses a linear head.

    Args:
        setup: Images and backbone.
        features: Their features.
        split: `(rows,)` of "train", "val" and "test".
        cuts: Those that it may see; all if empty.
        refit: Whether it may learn from a validation split that was given.
        thorough: Whether to try more candidates, as a sweep does.

    Returns:
        None where the features are too large for the memory.

    Raises:
        CacheError: If a cut is unknown.
        InputError: If no class has two images.
    """
    features.joined_shape(cuts)  # refuses cuts that there are not, which the next lines would drop
    plan = plan_of(split, features_stage.val_is_given(features), refit)
    # From the input towards the top, in whatever order they are asked for.
    cuts = tuple(cut for cut in features.cuts if cut in cuts or not cuts)
    with waiting("reading the features"):
        (samples,) = read_samples(features, [plan.rows], cuts, setup.memory_budget)
    if not isinstance(samples.features, np.ndarray):
        return None
    started = time.monotonic()
    rows = _rows(features, samples, samples.features, plan, cuts, setup)
    from transfer.choosing.choice import choose as choose_among

    with progress("choosing", 1, "heads") as update:
        choice = choose_among(rows, lambda done, of: update(done / of), thorough)
    asked = {"refit": refit, "thorough": thorough}
    return Chosen(choice, plan, rows, cuts, time.monotonic() - started, asked)


def choose_again(
    setup: Setup, features: FeatureFile, split: np.ndarray, head: Mapping[str, Any]
) -> Chosen:
    """Chooses what a run's head was chosen as, for what is not kept of it.

    Args:
        setup: Images and backbone.
        features: Their features.
        split: `(rows,)` of "train", "val" and "test".
        head: What is known of the head, one that was chosen by folds.

    Raises:
        InputError: If the features are too large for the memory now, or another is chosen.
    """
    known = head["chosen"]
    asked = known.get("asked")  # an earlier version did not note it
    cuts = tuple(known.get("could_see", ()))
    made = choose(setup, features, split, cuts, **asked) if asked else None
    if made is None or abs(made.choice.chosen.loss - known["loss"]) > SAME:
        raise InputError(
            f"the head in {setup.run_folder} was chosen with other memory, or by another version: "
            "expected to find the same again; run `transfer head` once more"
        )
    return made


def _rows(
    features: FeatureFile,
    samples: Samples,
    values: np.ndarray,
    plan: Plan,
    cuts: Sequence[str],
    setup: Setup,
) -> "Rows":
    from transfer.choosing.rows import Rows

    ids = features_stage.ids_of(features)
    groups = groups_in(ids, setup.data)
    folds = assign_folds(
        ids[plan.rows],
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


def show(chosen: Chosen) -> None:
    """Prints what was compared, the best few, the choice and why."""
    choice = chosen.choice
    shown = list(choice.judged[:SHOWN])
    if choice.chosen not in shown:
        shown.append(choice.chosen)
    shown += choice.before
    columns = ["sees", "transform", "penalty", "accuracy", "log loss"]
    cells = [_cells(head) for head in shown]
    if len({head.learned for head in shown}) > 1:
        columns.insert(3, "fitted to")
        for row, head in zip(cells, shown, strict=True):
            row.insert(3, f"{head.learned:,}")
    title = f"{choice.tried} linear heads {chosen.plan.in_words(len(choice.images))}"
    print_table(title, columns, cells)
    why = "of the lowest log loss"
    if choice.chosen is not choice.judged[0]:
        why = "the simplest within a standard error of the lowest log loss"
    name = choice.chosen.in_words(len(chosen.cuts))
    transform = choice.chosen.transform
    print(f"head: chose {name}, transform {transform}, {why}, in {chosen.seconds:.1f} s")


def _cells(head: "Judged") -> list[object]:
    from transfer.metrics import standard_error

    return [
        head.name,
        head.transform,
        "" if head.penalty is None else f"{head.penalty:.2g}",
        f"{head.accuracy:.4f} +- {standard_error(head.hits):.4f}",
        f"{head.loss:.4f} +- {standard_error(head.losses):.4f}",
    ]


def new_head(setup: Setup, features: FeatureFile, split: np.ndarray, chosen: Chosen) -> NewHead:
    """The chosen head, fitted to all that it may learn from, and to the training images alone."""
    from transfer.choosing.building import build_linear_head

    import_keras()
    choice, plan = chosen.choice, chosen.plan
    cuts = chosen.cuts[-choice.chosen.cuts :]
    shape = features.joined_shape(cuts)[len(features.spec.views) > 1 :]
    has_seen_val = bool(plan.final[~plan.training].any())
    training = build_linear_head(choice.training, shape) if has_seen_val else None
    out_of_fold = OutOfFold(
        np.asarray(features_stage.ids_of(features)[plan.rows[choice.images]]),
        chosen.rows.labels[choice.images],
        chosen.rows.judge[choice.images],
        choice.probabilities,
    )
    new = NewHead(
        build_linear_head(choice.final, shape),
        cuts,
        out_of_fold.scores(features.class_names),
        {"refitted": has_seen_val, "chosen": _notes(chosen)},
        chosen.seconds,
        training=training,
        temperature=choice.temperature,
        out_of_fold=out_of_fold,
    )
    return replace(new, scores=_scores(setup, features, split, chosen, new))


def _notes(made: Chosen) -> dict[str, Any]:
    """What `head.json` says of the choice."""
    from transfer.metrics import standard_error

    choice, chosen = made.choice, made.choice.chosen
    return {
        "sees": chosen.in_words(len(made.cuts)),
        "transform": chosen.transform,
        "penalty": chosen.penalty,
        "temperature": choice.temperature,
        "tried": choice.tried,
        "judged_by": len(choice.images),
        "folds": 1 if made.plan.holdout else FOLDS,
        "could_see": list(made.cuts),
        "asked": made.asked,
        "accuracy": chosen.accuracy,
        "accuracy_error": standard_error(chosen.hits),
        "loss": chosen.loss,
        "loss_error": standard_error(chosen.losses),
        "compared": [_compared(head, head is chosen) for head in (*choice.judged, *choice.before)],
    }


def _compared(head: "Judged", is_chosen: bool) -> dict[str, Any]:
    from transfer.metrics import standard_error

    return {
        "sees": head.name,
        "transform": head.transform,
        "penalty": head.penalty,
        "fitted_to": head.learned,
        "accuracy": head.accuracy,
        "accuracy_error": standard_error(head.hits),
        "loss": head.loss,
        "loss_error": standard_error(head.losses),
        "chosen": is_chosen,
    }


def _scores(
    setup: Setup, features: FeatureFile, split: np.ndarray, made: Chosen, new: NewHead
) -> "Evaluation":
    """Of the validation images, by the fit to training images; without any, those out of fold."""
    val = np.flatnonzero(split == "val")
    if not len(val):
        return new.scores
    model = new.training or new.model
    places = np.flatnonzero(np.isin(made.plan.rows, val))
    if len(places) == len(val):  # they took part, and so are in memory
        samples = _samples_of(made.rows, places, model.input_shape[1:])
    else:
        (samples,) = read_samples(features, [val], new.cuts, setup.memory_budget)
    return score(model, samples, features.class_names, "val")


def _samples_of(rows: "Rows", images: np.ndarray, shape: tuple[int, ...]) -> Samples:
    """Some images, in the features of the last cuts that make up a shape."""
    by_image = rows.features.reshape(len(rows.labels), rows.views, -1)
    values = by_image[images, :, -math.prod(shape) :].reshape(-1, *shape)
    return Samples(values, np.repeat(rows.labels[images], rows.views), rows.views)

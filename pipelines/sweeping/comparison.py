"""Exact baselines beside a sweep's heads: what a head has to beat to be worth its training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.sweeping.halving import Plan, journal_key, load_fold
from pipelines.sweeping.journal import Entry, Journal
from pipelines.sweeping.trials import Group
from transfer.heads.options import FitOptions, HeadOptions

if TYPE_CHECKING:
    from transfer.heads.baselines import LinearPath, NeighbourScores
    from transfer.heads.standardised import StandardisedData

Name = Literal["ridge", "logistic", "neighbours"]


def baselines(
    groups: Sequence[Group],
    names: Sequence[Name],
    journal: Journal,
    report: Callable[[str], None] = print,
) -> list[dict]:
    """The best of each kind on each of the features that the heads are trained on.

    Args:
        groups: Of the sweep.
        names: Kinds of baselines.
        journal: Looked up first, and written.
        report: Called with a line for each that is fitted, or where features are too large for
            memory.

    Returns:
        Rows of a table: baseline, features, setting, val_accuracy, val_loss, seconds.
    """
    plan = Plan((), 1.0, seeds=1, folds=1)
    first_of = {(group.features, group.trials[0].use_cuts): group for group in groups}
    rows = []
    for group in first_of.values() if names else ():
        # Without the heads' options: the same for another search on the same features.
        alone = Group(
            (replace(group.trials[0], head=HeadOptions(), fit=FitOptions()),), group.features
        )
        key = journal_key(alone, plan) + "-baselines"
        entry = journal.read(key)
        known: dict[str, dict] = dict(entry.notes["rows"]) if entry else {}
        missing = [name for name in names if name not in known]
        if missing:
            data = _standardised(alone, plan)
            if data is None:
                report("sweep: baselines are left out, they need all features in memory")
                continue
            for name in missing:
                known[name] = _best(data, name)
                report(_in_words(name, group, known[name]))
            journal.write(key, Entry({"rows": known}, []))
        features = group.features_in_words or group.features[:8]
        rows += [{"baseline": name, "features": features, **known[name]} for name in names]
    return rows


def _in_words(name: Name, group: Group, row: Mapping[str, Any]) -> str:
    seen = group.features_in_words and f", {group.features_in_words}"
    return (
        f"sweep: {name}, {row['setting']}{seen}: val accuracy {row['val_accuracy']:.4f} "
        f"in {row['seconds']} s"
    )


def _standardised(group: Group, plan: Plan) -> "StandardisedData | None":
    """The group's training and validation rows, standardised; None if they stay on disk."""
    from transfer.heads.standardised import standardise

    data = load_fold(group, plan, 0)
    if not all(isinstance(each.features, np.ndarray) for each in (data.train, data.val)):
        return None
    return standardise(data.train, data.val, data.mean, data.variance, data.num_classes)


def _best(data: "StandardisedData", name: Name) -> dict:
    from transfer.heads.baselines import logistic_path, nearest_neighbours, ridge_path

    result: LinearPath | NeighbourScores
    match name:
        case "ridge":
            result = ridge_path(data)
        case "logistic":
            result = logistic_path(data)
        case _:
            result = nearest_neighbours(data)
    best = result.best
    setting = f"k = {best.setting:g}" if name == "neighbours" else f"penalty {best.setting:.3g}"
    return {
        "setting": setting,
        "val_accuracy": best.val_accuracy,
        "val_loss": best.val_loss,
        "seconds": round(result.seconds, 1),
    }

"""The part of a page on training: what was compared, swept and fine-tuned."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.pages.charts import Chart, chart, picture
from pipelines.reporting.left import Left

MOST_HEADS = 300
"""Heads of a sweep in its table; sweep.csv has all."""


def training(left: Left) -> dict[str, Any] | None:
    """What this part shows; None before there is a head."""
    head = left.head
    if head is None:
        return None
    return {
        "head": head,
        "compared": head.get("chosen", {}).get("compared", []),
        "history": _history(left),
        "sweep": _sweep(left) if left.sweep else None,
        "tuning": _tuning(left) if left.tuning else None,
    }


def _history(left: Left) -> Chart | None:
    history = columns(left.table("head-history.csv"), leave=("epoch",))
    if not history:
        return None
    from transfer.pictures.curves import plot_history

    best = (left.head or {}).get("best_epoch")  # counted from 1, as people do
    alt = (
        f"Loss and accuracy over {len(history['loss'])} epochs; the last validation loss is "
        f"{history.get('val_loss', history['loss'])[-1]:.4g}"
    )
    return chart(plot_history, history, alt=alt, best_epoch=best and best - 1)


def columns(
    rows: Sequence[Mapping[str, str]], leave: tuple[str, ...] = ()
) -> dict[str, list[float]]:
    """Numbers of a table by their columns."""
    names = [name for name in rows[0] if name not in leave] if rows else []
    return {name: [float(row[name]) for row in rows] for name in names}


def _sweep(left: Left) -> dict[str, Any]:
    assert left.sweep is not None
    rows = left.table("sweep.csv")
    points = "Accuracy of each head against each option that the sweep varied"
    rungs = "Validation accuracy of each head over the epochs; some were ended early"
    return {
        "told": left.sweep,
        "columns": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows[:MOST_HEADS]],
        "count": len(rows),
        "parameters": picture(left.folder / "sweep-parameters.png", points),
        "rungs": picture(left.folder / "sweep-rungs.png", rungs),
    }


def _tuning(left: Left) -> dict[str, Any]:
    tuning = left.tuning
    assert tuning is not None
    way = tuning.get("way", [])
    return {
        "told": tuning,
        "way": way,
        "history": _tuning_history(left, way),
        "changes": picture(
            left.folder / "finetune-changes.png",
            "Images that judged and were taken for another class after fine-tuning",
        ),
    }


def _tuning_history(left: Left, way: Sequence[Mapping[str, float]]) -> Chart | None:
    rows = left.table("finetune-history.csv")
    if not rows or not way:
        return None
    from transfer.pictures.tuning import plot_tuning

    assert left.tuning is not None
    folds = sorted({int(row["fold"]) for row in rows})
    histories = [
        columns([row for row in rows if int(row["fold"]) == fold], leave=("fold", "epoch"))
        for fold in folds
    ]
    points = [tuple(point.values()) for point in way]
    share = left.tuning["share"]
    alt = (
        f"Losses over the epochs of {len(folds)} trainings, and log loss between the frozen start, "
        f"{points[0][1]:.4f}, and the end, {points[-1][1]:.4f}; {share:.0%} of the way was taken"
    )
    return chart(plot_tuning, histories, points[0][1], points, share, alt=alt)

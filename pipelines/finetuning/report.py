"""What a fine-tuning says, and its pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from cache.durable import whole_file
from pipelines.counting import counted
from pipelines.finetuning.judging import Judgement
from pipelines.models import FINETUNED
from pipelines.results import print_table

if TYPE_CHECKING:
    from pipelines.finetuning.inputs import Inputs
    from transfer.finetuning.interpolation import Step
    from transfer.finetuning.unfreezing import Unfrozen
    from transfer.images.imageset import ImageSet


WAY = ("share", "loss", "loss_difference_error", "accuracy")
"""What `finetune.json` says of each point between start and end."""


def result_of(
    judged: Judgement,
    head: dict[str, Any],
    unfrozen: "Unfrozen",
    inputs: "Inputs",
    options: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """What `finetune.json` says."""
    from transfer.metrics import standard_error

    start = judged.steps[0]
    return {
        "id": uuid4().hex,
        "head_id": head["id"],
        "judged_by": len(judged.rows),
        "folds": len(judged.histories),
        "before": _scores(start),
        "after": _scores(judged.chosen),
        "loss_difference_error": standard_error(judged.chosen.losses - start.losses),
        "way": [dict(zip(WAY, point, strict=True)) for point in _way(judged)],
        "share": judged.chosen.share,
        "temperature": judged.chosen.temperature,
        "learning_rate": judged.rate,
        "epochs": options["fit"]["epochs"],
        "trained": unfrozen.in_words,
        "parameters": unfrozen.parameters,
        "from": inputs.in_words,
        "seconds": round(seconds, 1),
        "options": options,
    }


def _way(judged: Judgement) -> list[tuple[float, float, float, float]]:
    """Points between start and end, as `plot_tuning` takes them."""
    from transfer.metrics import standard_error

    start = judged.steps[0]
    return [
        (
            step.share,
            float(step.losses.mean()),
            standard_error(step.losses - start.losses),
            float(step.hits.mean()),
        )
        for step in judged.steps
    ]


def _scores(step: "Step") -> dict[str, float]:
    return {"val_accuracy": float(step.hits.mean()), "val_loss": float(step.losses.mean())}


def say(judged: Judgement, result: dict[str, Any], folder: Path) -> None:
    """Prints how good the weights are along the way, and how far it goes."""
    folds = len(judged.histories)
    in_turn = f", each when held out, in {folds} folds" if folds > 1 else ""
    print_table(
        f"between frozen and fine-tuned, judged by {counted(len(judged.rows), 'image')}{in_turn}",
        ["of the way", "accuracy", "log loss", "less than frozen by"],
        list(_rows(judged)),
    )
    before, after = result["before"], result["after"]
    if not judged.chosen.share:
        print(
            "finetune: nothing is surely better than the frozen backbone, so classifier.keras "
            f"stays, in {result['seconds']:.1f} s; try more --epochs or another --unfreeze"
        )
        return
    print(
        f"finetune: {judged.chosen.share:.0%} of the way: accuracy {before['val_accuracy']:.4f} "
        f"before, {after['val_accuracy']:.4f} after, log loss {before['val_loss']:.4f} before, "
        f"{after['val_loss']:.4f} after, in {result['seconds']:.1f} s, in {folder / FINETUNED}"
    )


def _rows(judged: Judgement) -> Iterator[list[object]]:
    from transfer.metrics import standard_error

    start = judged.steps[0]
    for step in judged.steps:
        gains = start.losses - step.losses
        gain = f"{gains.mean():.4f} +- {standard_error(gains):.4f}" if step.share else ""
        name = f"{step.share:.0%}" if step.share else "frozen"
        mark = " <" if step is judged.chosen else ""
        yield [name + mark, f"{step.hits.mean():.4f}", f"{step.losses.mean():.4f}", gain]


def save_history(judged: Judgement, path: Path) -> None:
    """Writes the epochs of all folds, one line each, both counted from 1."""
    columns = list(judged.histories[0])
    lines = [",".join(["fold", "epoch", *columns])]
    for fold, history in enumerate(judged.histories, start=1):
        for epoch, row in enumerate(zip(*history.values(), strict=True), start=1):
            lines.append(",".join([str(fold), str(epoch), *(f"{value:.6g}" for value in row)]))
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw(judged: Judgement, images: "ImageSet", folder: Path) -> None:
    """Draws the trainings with the way between start and end, and images that changed.

    Args:
        judged: What trainings came to.
        images: Of all rows.
        folder: The run's.
    """
    from transfer.pictures.predictions import TILE
    from transfer.pictures.tuning import plot_changes, plot_tuning

    plot_tuning(
        judged.histories,
        float(judged.steps[0].losses.mean()),
        _way(judged),
        judged.chosen.share,
        folder / "finetune-history.png",
    )
    changes = folder / "finetune-changes.png"
    if not judged.chosen.share:  # nothing changed
        changes.unlink(missing_ok=True)
        return
    before, after = judged.before.argmax(1), judged.after.argmax(1)
    changed = np.flatnonzero(before != after)
    rows = judged.rows[changed]
    names = np.array(images.class_names)
    plot_changes(
        [images.read(int(row), TILE) for row in rows],
        names[images.labels[rows]].tolist(),
        names[before[changed]].tolist(),
        names[after[changed]].tolist(),
        changes,
        judged=len(judged.rows),
    )

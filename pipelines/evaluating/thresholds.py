"""Thresholds of classes: chosen by images that a model has not seen, told on those evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.out_of_fold import read_out_of_fold
from pipelines.results import print_table

if TYPE_CHECKING:
    from transfer.calibration import Aim, Threshold


OF_TEST = ("test precision", "test recall", "test images")
COLUMNS = ("class", "from", "precision", "recall", "images", *OF_TEST)
"""Of the images that chose, and of those of the test split."""


def told_thresholds(
    aim: "Aim",
    paths: Mapping[str, Path],
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Chooses and prints each model's thresholds.

    A model of which it is not known what it said of images that it had not seen has none, and is
    named.

    Args:
        aim: What they are for.
        paths: Of the models' files, by name.
        probabilities: `(images, classes)` of the images evaluated, likewise.
        labels: `(images,)` theirs.
        class_names: One a class.

    Returns:
        By the model's name what `evaluation-<split>.json` says.
    """
    told = {}
    for name, path in paths.items():
        said = read_out_of_fold(path) if path.suffix == ".keras" else None
        if said is None:
            print(
                f"evaluate: no thresholds for {name}: its file does not say what it made of images "
                "that it had not seen; `transfer head` and `transfer finetune` write such files"
            )
            continue
        told[name] = _told(aim, name, said, probabilities[name], labels, class_names)
    return told


def _told(
    aim: "Aim",
    name: str,
    said: Any,
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, Any]:
    from transfer.calibration import LEAST_SURE, at_threshold, thresholds_for

    chosen = thresholds_for(aim, said.probabilities, said.labels, class_names)
    here = [
        at_threshold(one.class_name, one.threshold, probabilities[:, number], labels == number)
        if one.threshold is not None
        else None
        for number, one in enumerate(chosen)
    ]
    print_table(
        f"{name}, thresholds for {aim}, chosen by {len(said.labels)} images that it had not seen",
        COLUMNS,
        [_cells(one, other) for one, other in zip(chosen, here, strict=True)],
    )
    if any(one.threshold is not None and not one.is_sure for one in chosen):
        print(
            f"evaluate: thresholds with ? were chosen by fewer than {LEAST_SURE} images above them"
        )
    return {
        "for": str(aim),
        "chosen_by": len(said.labels),
        "classes": [
            asdict(one) | {"here": other and asdict(other)}
            for one, other in zip(chosen, here, strict=True)
        ],
    }


def _cells(chosen: "Threshold", here: "Threshold | None") -> list[object]:
    if chosen.threshold is None or here is None:
        return [chosen.class_name, "not reached", *[""] * 6]
    mark = "" if chosen.is_sure else " ?"
    return [
        chosen.class_name,
        f"{chosen.threshold:.4f}{mark}",
        *_scores(chosen),
        *_scores(here),
    ]


def _scores(threshold: "Threshold") -> list[object]:
    shares = (threshold.precision, threshold.recall)
    return [*("" if share is None else f"{share:.3f}" for share in shares), threshold.images]

"""Labels that look wrong, by what the run's heads said of images that they had not seen."""

import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cache import FeatureFile
from pipelines.auditing.findings import Finding
from pipelines.evaluating.predictions import Predictions, read_predictions
from pipelines.model_names import HEAD
from pipelines.models import CLASSIFIER, HEAD_RESULT
from pipelines.out_of_fold import read_out_of_fold
from transfer.auditing.suspect_labels import suspect_labels
from transfer.classifier import read_members
from transfer.errors import InputError


@dataclass(frozen=True, eq=False)
class Judged:
    """What heads said of images that they had not seen.

    Attributes:
        rows: `(judged,)` int64 rows of the feature file.
        probabilities: `(judged, classes)`.
        missing: Why there are none, and what to run; empty if there are some.
        cuts: Those that the run's head sees; none if there is no head.
    """

    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    missing: str = ""
    cuts: tuple[str, ...] = ()


def read_judged(run_folder: Path, features: FeatureFile) -> Judged:
    """Reads what the head's file keeps of images not seen, and what it said of test images."""
    path = run_folder / CLASSIFIER
    try:
        head = json.loads(read_members(path, HEAD_RESULT)[0])
    except InputError:
        return Judged(missing="this run has no head yet; run transfer head first")
    if head["features"] != features.key:
        return Judged(missing="the head is of other images or features; run transfer head again")
    cuts = tuple(head["cuts"])
    said = read_out_of_fold(path)
    if said is None:
        return Judged(
            missing="the head was saved before heads kept what they say of images not seen; "
            "run transfer head again",
            cuts=cuts,
        )
    rows, probabilities = said.rows_in(features.ids), said.probabilities
    tested = _tested(run_folder, head["id"])
    if tested is not None:
        row_of = {id: row for row, id in enumerate(features.ids)}
        rows = np.concatenate([rows, [row_of[id] for id in tested.ids]])
        probabilities = np.concatenate([probabilities, tested.probabilities[HEAD]])
    return Judged(rows, probabilities, cuts=cuts)


def _tested(run_folder: Path, head_id: str) -> Predictions | None:
    """What this head said of test images, if it was asked."""
    try:
        said = read_predictions(run_folder, "test")
    except InputError:  # of an earlier version
        return None
    return said if said is not None and said.head_id == head_id else None


def suspects(judged: Judged, features: FeatureFile) -> list[Finding]:
    """Images whose label looks wrong, the surest first; says why where none were looked for."""
    missing = judged.missing
    if not missing and find_spec("cleanlab") is None:
        missing = "this needs a package: pip install cleanlab"
    if missing:
        print(f"audit: labels were not looked at: {missing}")
        return []
    print(
        f"audit: labels of {len(judged.rows):,} of {len(features):,} images were judged by heads "
        "that had not seen them"
    )
    names = features.class_names
    labels = features.labels[judged.rows]
    suspect = suspect_labels(labels, judged.probabilities)
    found = []
    pairs = zip(suspect.rows.tolist(), suspect.doubt, suspect.suggested.tolist(), strict=True)
    for place, doubt, suggested in pairs:
        likely = judged.probabilities[place, suggested]
        note = f"{names[labels[place]]}, but {names[suggested]} with {likely:.2f}"
        row = int(judged.rows[place])
        found.append(Finding(row, "label", float(doubt), note, (), names[suggested]))
    return found


def likeliest(judged: Judged, features: FeatureFile) -> dict[int, str]:
    """By row the class that is likeliest to heads that had not seen the image."""
    if not len(judged.rows):
        return {}
    best = judged.probabilities.argmax(1)
    return {
        row: features.class_names[label]
        for row, label in zip(judged.rows.tolist(), best.tolist(), strict=True)
    }

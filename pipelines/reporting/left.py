"""What the stages of a run left behind, whichever have run; nothing is made again."""

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cache import FeatureFile, entry_path
from cache.errors import CacheError
from pipelines.auditing.findings import AUDIT
from pipelines.auditing.leaks import SUMMARY
from pipelines.comparing.evaluated import what_changed
from pipelines.evaluating.predictions import Predictions, read_predictions
from pipelines.features import split_of
from pipelines.finetune import load_rows_of
from pipelines.models import CLASSIFIER, FINETUNE_RESULT, read_finetuned, read_head
from pipelines.out_of_fold import OutOfFold, read_out_of_fold
from pipelines.runs import RUN_FILE
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.images.imageset import ImageSet


@dataclass(frozen=True, eq=False)
class Left:
    """What is there of a run; what belongs to an older head, or other images, counts as missing.

    Attributes:
        setup: Images, backbone and the run.
        split_name: The split that the page shows scores of.
        features: The stored features, open; None if there are none.
        images: Where the pixels are, in the features' order; None if they are not to be had.
        head: What `head.json` says, or None.
        evaluation: What `evaluation-<split>.json` says, or None.
        predictions: What each image of that split was taken for, or None.
        tuning: What `finetune.json` says, or None.
        audit: What `audit.json` says, or None.
        findings: Rows of `audit.csv`, by its columns.
        sweep: What `sweep.json` says, or None.
        remarks: Why something is not there that somebody may look for.
    """

    setup: Setup
    split_name: str
    features: FeatureFile | None
    images: ImageSet | None
    head: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None
    predictions: Predictions | None
    tuning: Mapping[str, Any] | None
    audit: Mapping[str, Any] | None
    findings: tuple[Mapping[str, str], ...]
    sweep: Mapping[str, Any] | None
    remarks: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        """The run's."""
        return self.setup.run_folder

    @cached_property
    def split(self) -> np.ndarray:
        """`(rows,)` "train", "val" or "test", of the features' rows."""
        assert self.features is not None
        return split_of(self.features, self.setup.data)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The features' row by an image's id."""
        return {} if self.features is None else {id: at for at, id in enumerate(self.features.ids)}

    @cached_property
    def out_of_fold(self) -> OutOfFold | None:
        """What the head said of images that it had not seen."""
        return read_out_of_fold(self.folder / CLASSIFIER) if self.head else None

    def text(self, name: str) -> str:
        """A file of the run's folder; empty if there is none."""
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def table(self, name: str) -> list[dict[str, str]]:
        """A CSV file of the run's folder by its columns; empty if there is none."""
        return _rows(self.text(name))


def read_left(setup: Setup, split: str) -> Left:
    """Reads what the stages of a run left.

    Args:
        setup: Images, backbone and the run.
        split: Of which scores are shown.

    Raises:
        InputError: If there is no run.
    """
    folder = setup.run_folder
    if not (folder / RUN_FILE).is_file():
        raise InputError(
            f"a report expects a run in {folder}, received none; run `transfer features` first, or "
            "name another --run"
        )
    remarks: list[str] = []
    head = read_head(folder) if (folder / CLASSIFIER).is_file() else None
    features = _features(setup, head, remarks)
    evaluation, said = _evaluated(folder, head, split, remarks)
    audit, findings = _audit(folder, features, remarks)
    return Left(
        setup,
        split,
        features,
        _images(features, setup, remarks),
        head,
        evaluation,
        said,
        _tuning(folder, head, remarks),
        audit,
        findings,
        _json(folder / "sweep.json"),
        tuple(remarks),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _features(
    setup: Setup, head: Mapping[str, Any] | None, remarks: list[str]
) -> FeatureFile | None:
    """Those that the head learned from; before there is one, those that the run is of."""
    try:
        key = head["features"] if head else setup.spec().key
        return FeatureFile(entry_path(setup.feature_store, key), key)
    except (CacheError, InputError, FileNotFoundError) as error:
        remarks.append(f"The stored features cannot be read: {error}")
        return None


def _images(features: FeatureFile | None, setup: Setup, remarks: list[str]) -> ImageSet | None:
    if features is None:
        return None
    try:
        return load_rows_of(features, setup)
    except (InputError, OSError) as error:
        remarks.append(f"The images cannot be shown: {error}")
        return None


def _evaluated(
    folder: Path, head: dict[str, Any] | None, split: str, remarks: list[str]
) -> tuple[Any, Predictions | None]:
    """Scores, and what each image was taken for; none where they are not of what is there now."""
    scores = _json(folder / f"evaluation-{split}.json")
    if scores is None or head is None:
        return None, None
    changed = "by an earlier version"
    with suppress(InputError):
        if said := read_predictions(folder, split):
            changed = what_changed(said, head, read_finetuned(folder, head, "report"))
            if not changed:
                return scores, said
    remarks.append(f"The run was evaluated on the {split} split {changed}: run transfer evaluate")
    return None, None


def _tuning(folder: Path, head: Mapping[str, Any] | None, remarks: list[str]) -> Any:
    found = _json(folder / FINETUNE_RESULT)
    if found is None or head is None:
        return None
    if found["head_id"] != head["id"]:
        remarks.append(
            "The fine-tuning began with an older head and is left out; run transfer finetune"
        )
        return None
    return found


def _audit(
    folder: Path, features: FeatureFile | None, remarks: list[str]
) -> tuple[Any, tuple[Mapping[str, str], ...]]:
    audit = _json(folder / SUMMARY)
    if audit is None or features is None:
        return None, ()
    if audit["features"] != features.key:
        remarks.append("The audit is of other images and is left out; run transfer audit")
        return None, ()
    path = folder / AUDIT
    return audit, tuple(_rows(path.read_text(encoding="utf-8")) if path.is_file() else ())


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))

"""The images that several runs have in common, and what each model said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from pipelines.comparing.evaluated import Evaluated
from pipelines.model_names import HEAD
from transfer.errors import InputError
from transfer.names import shown


@dataclass(frozen=True, eq=False)
class Matched:
    """What models of one or more runs said of the same images.

    Attributes:
        ids: `(images,)` str, sorted.
        labels: `(images,)` integers.
        class_names: `(classes,)` str, in the order of the first run.
        probabilities: `(images, classes)` by the model's name: "run: model", the run alone where
            each has but its head, or the model alone where there is one run.
        of_run: Of each model its run and its name there.
        left_out: By the run's name how many images of its split the others lack.
    """

    ids: np.ndarray
    labels: np.ndarray
    class_names: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    of_run: Mapping[str, tuple[Evaluated, str]]
    left_out: Mapping[str, int]


def match(runs: Sequence[Evaluated]) -> Matched:
    """Finds the images by their ids, and puts classes into one order by their names.

    A test image of one run from which another learned is none of the other's test images, and so
    it is not in the comparison.

    Raises:
        InputError: If classes differ, no image is common, or one is of different classes.
    """
    first = runs[0]
    for run in runs[1:]:
        _check_classes(first, run)
    ids = _common_ids(runs)
    class_names = first.said.class_names
    labels = first.said.labels[_rows_of(first, ids)]
    probabilities, of_run = {}, {}
    for run in runs:
        rows = _rows_of(run, ids)
        number = {name: at for at, name in enumerate(run.said.class_names)}
        columns = np.array([number[name] for name in class_names])
        _check_labels(first, labels, run, np.argsort(columns)[run.said.labels[rows]], ids)
        for model, said in run.said.probabilities.items():
            name = _name(run, model, runs)
            probabilities[name] = said[rows][:, columns]
            of_run[name] = run, model
    left_out = {run.name: len(run.said.ids) - len(ids) for run in runs}
    return Matched(ids, labels, class_names, probabilities, of_run, left_out)


def _common_ids(runs: Sequence[Evaluated]) -> np.ndarray:
    ids = reduce(np.intersect1d, (run.said.ids for run in runs))
    if not len(ids):
        raise InputError(
            f"expected images that all runs were evaluated on, found none in the "
            f"{runs[0].said.split} splits of {', '.join(shown(run.name) for run in runs)}; "
            "compare runs of the same data, split alike"
        )
    return ids


def _name(run: Evaluated, model: str, runs: Sequence[Evaluated]) -> str:
    if len(runs) == 1:
        return model
    heads_alone = all(list(one.said.probabilities) == [HEAD] for one in runs)
    return run.name if heads_alone else f"{run.name}: {model}"


def _rows_of(run: Evaluated, ids: np.ndarray) -> np.ndarray:
    order = np.argsort(run.said.ids)
    return order[np.searchsorted(run.said.ids, ids, sorter=order)]


def _check_classes(first: Evaluated, other: Evaluated) -> None:
    one, two = (set(run.said.class_names.tolist()) for run in (first, other))
    if one != two:
        only = [
            f"{shown(run.name)} alone has {shown(', '.join(sorted(extra)))}"
            for run, extra in ((first, one - two), (other, two - one))
            if extra
        ]
        raise InputError(f"expected runs of the same classes, received others: {'; '.join(only)}")


def _check_labels(
    first: Evaluated, labels: np.ndarray, other: Evaluated, theirs: np.ndarray, ids: np.ndarray
) -> None:
    differing = np.flatnonzero(theirs != labels)
    if len(differing):
        at, names = differing[0], first.said.class_names
        raise InputError(
            f"expected one class for each image, received two for {len(differing)} of {len(ids)}: "
            f"{shown(ids[at])} is of {shown(names[labels[at]])} in run {shown(first.name)}, of "
            f"{shown(names[theirs[at]])} in run {shown(other.name)}; compare runs of the same data"
        )

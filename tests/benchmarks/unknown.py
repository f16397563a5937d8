"""How well a classifier says that it does not know: classes kept from it, and other folders."""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.heads.choosing import FOLDS
from pipelines.results import print_table
from pipelines.setup import Setup
from tests.benchmarks.panel import ARTIFACTS, BACKBONE, folders
from tests.benchmarks.timing import figure
from transfer.choosing.choice import LinearHead, choose
from transfer.choosing.rows import Rows
from transfer.heads.transforms import transformed
from transfer.images.sources import DataOptions
from transfer.images.splits import assign_folds
from transfer.knowing.knowledge import learn

MOST_CLASSES = 10
"""A head is chosen for each class; folders of more are only what others do not know."""
FAR = 150
"""Images of each other folder."""
REPETITIONS = 2
GAIN = 0.05
"""Of AUROC over that of the largest probability, on average over folders."""


@dataclass(frozen=True)
class Scores:
    """Of telling unknown images from known ones; shares from 0 to 1.

    Attributes:
        plain: AUROC of the largest probability.
        ours: AUROC of strangeness.
        plain_taken: Unknown images taken for known, by the largest probability, where 95 % of known
            ones are.
        taken: The same by strangeness.
        kept: Known images that count as known, at the threshold in the classifier.
        found: Unknown images that count as unknown, likewise.
    """

    plain: float
    ours: float
    plain_taken: float
    taken: float
    kept: float
    found: float


def unknown() -> list[dict]:
    """Keeps each class of each folder from the default head in turn, and shows other folders to it.

    Returns:
        Rows of the table: per folder, how much AUROC is gained over the largest probability.
    """
    paths = {path.name.split(".")[0]: path for path in folders()}
    if not paths:
        print("bench: unknown is left out, no folder of the panel is at hand; give PANEL=folder")
        return []
    stored = {name: _stored(path) for name, path in paths.items()}
    by_folder: dict[tuple[str, str], list[Scores]] = {}
    for name, data in stored.items():
        if len(data.class_names) <= MOST_CLASSES:
            others = {other: _some(stored[other]) for other in stored if other != name}
            for kind, scores in _of_folder(data, others):
                by_folder.setdefault((name, kind), []).append(scores)
    _show(by_folder)
    return list(_figures(by_folder))


@dataclass(frozen=True, eq=False)
class _Stored:
    """Features of a folder: `(rows, num_features)`, cuts side by side."""

    features: np.ndarray
    widths: tuple[int, ...]
    labels: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]


def _stored(path: Path) -> _Stored:
    with features_stage.open_features(Setup(DataOptions(str(path)), BACKBONE, ARTIFACTS)) as file:
        return _read(file)


def _read(file: FeatureFile) -> _Stored:
    widths = tuple(file.shape(cut)[-1] for cut in file.cuts)
    values = file.read(np.arange(len(file)), file.cuts)
    return _Stored(values, widths, file.labels, file.ids, file.class_names)


def _some(data: _Stored) -> np.ndarray:
    order = np.random.default_rng(0).permutation(len(data.features))
    return data.features[np.sort(order[:FAR])]


def _of_folder(data: _Stored, others: dict[str, np.ndarray]) -> Iterator[tuple[str, Scores]]:
    """Scores on each class kept out, mean over repetitions, and on each other folder."""
    num_classes = len(data.class_names)
    kept_out = [*range(num_classes), None] if num_classes > 2 else [None]
    for label in kept_out:
        near, far = [], defaultdict(list)
        for seed in range(REPETITIONS):
            judge = _Judge(data, label, seed)
            if label is not None:
                near.append(judge.scores(data.features[data.labels == label]))
                continue
            for other, images in others.items():
                far[other].append(judge.scores(images))
        for kind, scores in (("class kept out", near), *(("folder", one) for one in far.values())):
            if scores:
                yield kind, _mean(scores)


class _Judge:
    """A head and what it knows, of three quarters of the images of all classes but one."""

    def __init__(self, data: _Stored, label: int | None, seed: int) -> None:
        known = np.flatnonzero(data.labels != (-1 if label is None else label))
        known = np.random.default_rng(seed).permutation(known)
        test, train = np.split(known, [len(known) // 4])
        train = np.sort(train)
        names, labels = np.unique(data.labels[train], return_inverse=True)
        folds = assign_folds(
            data.ids[train], labels, tuple(data.class_names[name] for name in names), FOLDS, None
        )
        everything = np.ones(len(train), bool)
        features = data.features[train]
        rows = Rows(features, labels, len(names), data.widths, folds, everything, everything)
        with threadpool_limits(1, "blas"):
            choice = choose(rows)
        self._head, self._top = choice.final, data.widths[-1]
        of_top = features[:, -self._top :]
        judges = choice.images
        self._known = learn(
            data.ids[train], of_top, data.ids[train][judges], of_top[judges], choice.probabilities
        )
        self._test = data.features[test]

    def scores(self, unknown: np.ndarray) -> Scores:
        from sklearn.metrics import roc_auc_score

        said = [_probabilities(self._head, images) for images in (self._test, unknown)]
        known, strange = (
            self._known.judge(probabilities, images[:, -self._top :]).strangeness
            for probabilities, images in zip(said, (self._test, unknown), strict=True)
        )
        sure, unsure = (-probabilities.max(axis=1) for probabilities in said)
        truth = np.repeat([0, 1], [len(known), len(strange)])
        return Scores(
            roc_auc_score(truth, np.concatenate([sure, unsure])),
            roc_auc_score(truth, np.concatenate([known, strange])),
            float((unsure <= np.quantile(sure, 0.95)).mean()),
            float((strange <= np.quantile(known, 0.95)).mean()),
            float((known <= 1).mean()),
            float((strange > 1).mean()),
        )


def _probabilities(head: LinearHead, features: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    seen = transformed(features[:, -len(head.kernel) :], head.transform)
    return softmax((seen - head.mean) / np.sqrt(head.variance) @ head.kernel + head.bias, axis=1)


def _mean(scores: list[Scores]) -> Scores:
    names = list(Scores.__dataclass_fields__)
    return Scores(*(statistics.fmean(getattr(one, name) for one in scores) for name in names))


def _show(by_folder: dict[tuple[str, str], list[Scores]]) -> None:
    rows = []
    for (name, kind), scores in by_folder.items():
        mean, gain, error = _mean(scores), *_gain(scores)
        rows.append(
            [
                *(name, f"{len(scores)} x {kind}"),
                *(
                    f"{mean.plain:.3f} / {mean.plain_taken:.2f}",
                    f"{mean.ours:.3f} / {mean.taken:.2f}",
                ),
                f"{100 * gain:+.1f} +- {100 * error:.1f}",
                *(f"{mean.kept:.3f}", f"{mean.found:.2f}"),
            ]
        )
    columns = ["folder", "unknown", "largest probability", "strangeness", "points gained"]
    columns += ["known kept", "unknown found"]
    print_table("AUROC / unknown taken for known where 95 % of known are", columns, rows)


def _gain(scores: list[Scores]) -> tuple[float, float]:
    """Mean gain of AUROC, and its standard error over classes or folders."""
    gains = [one.ours - one.plain for one in scores]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return statistics.fmean(gains), error


def _figures(by_folder: dict[tuple[str, str], list[Scores]]) -> Iterator[dict]:
    for kind in sorted({kind for _, kind in by_folder}):
        alike = [scores for (_, each), scores in by_folder.items() if each == kind]
        gain = statistics.fmean(_gain(scores)[0] for scores in alike)
        what = f"unknown ({kind}): points of AUROC above the largest probability"
        yield figure(what, 100 * gain, 100 * GAIN)

"""What an audit finds of what was planted: copies, strangers, wrong labels; what it foretells."""

import io
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image, ImageOps
from threadpoolctl import threadpool_limits

from pipelines.auditing.pictures import find_twins_in, look
from pipelines.features import open_features
from pipelines.finetune import load_rows_of
from pipelines.results import print_table
from pipelines.setup import Setup
from tests.benchmarks.panel import ARTIFACTS, BACKBONE, folders
from tests.benchmarks.timing import figure
from transfer.auditing.enough import Curve, learning_curve
from transfer.auditing.neighbours import nearest
from transfer.auditing.outliers import UNLIKE, outlyingness
from transfer.auditing.suspect_labels import suspect_labels
from transfer.choosing.choice import choose
from transfer.choosing.rows import Rows
from transfer.images.sources import DataOptions, load
from transfer.images.splits import assign_folds
from transfer.knowing.knowledge import directions_of

COPIES = 40
"""Images of each folder that are copied, each in all ways."""
STRANGERS = 10
"""Images of other folders among those of one."""
FLIPPED = 0.05
REPETITIONS = 2
BETWEEN = "__"
"""Between the name of an image and how its copy was changed."""


def _recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


def _cropped(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((int(0.05 * w), int(0.05 * h), int(0.95 * w), int(0.95 * h)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "quality 30": _recompressed,
    "mirrored": ImageOps.mirror,
    "turned by 90 degrees": lambda image: image.rotate(90, expand=True),
    "5 % cropped on all sides": _cropped,
}
LEAST = (0.95, 0.95, 0.95, 0.85, 0.75)
"""Of the copies of each kind, on average over folders."""


@dataclass(frozen=True, eq=False)
class _Folder:
    """Features of a folder with copies: `(rows, num_features)`, and what each row is."""

    features: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    pairs: set[tuple[int, int]]

    @property
    def originals(self) -> np.ndarray:
        return np.array([BETWEEN not in id for id in self.ids])


def audit() -> list[dict]:
    """Plants copies, strangers and wrong labels in each folder, and asks the audit for them.

    Returns:
        Rows of the table: means over the folders.
    """
    paths = {path.name.split(".")[0]: path for path in folders()}
    if not paths:
        print("bench: audit is left out, no folder of the panel is at hand; give PANEL=folder")
        return []
    with threadpool_limits(1, "blas"):
        read = {name: _read(_planted(name, path)) for name, path in paths.items()}
        copies = {name: _copies(folder) for name, folder in read.items()}
        strangers = {name: _strangers(name, read) for name in read}
        labels = {name: _wrong_labels(folder) for name, folder in read.items()}
        foretold = {name: _foretold(folder) for name, folder in read.items()}
    print_table(
        "share of copies found, of originals: pairs taken for twins / compared",
        ["folder", *CHANGES, "originals"],
        [[name, *cells] for name, cells in copies.items()],
    )
    print_table(
        "of ten strangers: found, among the ten most unlike, others taken for such",
        ["folder", "found", "of the ten", "others"],
        [[name, *(f"{value:.1f}" for value in cells)] for name, cells in strangers.items()],
    )
    print_table(
        f"{FLIPPED:.0%} of labels flipped",
        ["folder", "accuracy", "flipped", "suspect", "precision", "recall", "suggestion right"],
        [[name, *(f"{value:.2f}" for value in cells)] for name, cells in labels.items()],
    )
    print_table(
        "accuracy with most images: foretold from half of them, and measured",
        ["folder", "foretold", "+-", "measured"],
        [[name, *(f"{value:.3f}" for value in cells)] for name, cells in foretold.items()],
    )
    shares = np.array([[float(cell) for cell in cells[:-1]] for cells in copies.values()]).mean(0)
    return [
        *(
            figure(f"audit: share of copies found, {change}", share, least)
            for change, share, least in zip(CHANGES, shares, LEAST, strict=True)
        ),
        figure(
            "audit: recall of flipped labels", fmean(cells[4] for cells in labels.values()), 0.7
        ),
        figure(
            "audit: precision of flipped labels", fmean(cells[3] for cells in labels.values()), 0.4
        ),
    ]


def _planted(name: str, path: Path) -> Path:
    """The folder's images with changed copies of some beside them."""
    place = (ARTIFACTS / "audit" / name).absolute()
    shutil.rmtree(place, ignore_errors=True)
    images = load(DataOptions(str(path)))
    chosen = set(np.random.default_rng(0).choice(len(images), COPIES, replace=False).tolist())
    for row in range(len(images)):
        of_class = place / images.class_names[images.labels[row]]
        of_class.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(images.read(row))
        stem = images.ids[row].replace("/", "-").rpartition(".")[0]
        image.save(of_class / f"{stem}.png")
        for way, change in CHANGES.items() if row in chosen else ():
            change(image).save(of_class / f"{stem}{BETWEEN}{way.replace(' %', '')}.jpg", quality=85)
    return place


def _read(place: Path) -> _Folder:
    setup = Setup(DataOptions(str(place)), replace(BACKBONE, cut=("top",)), artifacts=ARTIFACTS)
    with open_features(setup) as file:
        values = file.read(np.arange(len(file)))
        images = load_rows_of(file, setup)
        neighbours = nearest(directions_of(values))
        twins = find_twins_in(images, neighbours, file.image_digests, look(images))
        pairs = set(map(tuple, twins.pairs.tolist()))
        return _Folder(values, file.ids, file.labels, file.class_names, pairs)


def _copies(folder: _Folder) -> list[str]:
    rows = {id.rpartition(".")[0]: row for row, id in enumerate(folder.ids)}
    found = defaultdict(list)
    for id, row in rows.items():
        stem, between, way = id.partition(BETWEEN)
        if between:
            found[way].append(tuple(sorted((row, rows[stem]))) in folder.pairs)
    originals = folder.originals
    wrong = sum(bool(originals[one] and originals[other]) for one, other in folder.pairs)
    near = nearest(directions_of(folder.features[originals]))
    own = np.repeat(np.arange(originals.sum())[:, None], near.rows.shape[1], axis=1)
    compared = len(np.unique(np.sort(np.stack([own, near.rows], -1).reshape(-1, 2)), axis=0))
    shares = [f"{np.mean(found[way.replace(' %', '')]):.2f}" for way in CHANGES]
    return [*shares, f"{wrong} / {compared:,}"]


def _strangers(name: str, read: dict[str, _Folder]) -> tuple[float, ...]:
    """Of ten strangers in this folder: found, of the most unlike, and others; means."""
    own = read[name].features[read[name].originals]
    others = np.concatenate(
        [one.features[one.originals] for key, one in read.items() if key != name]
    )
    results = []
    for seed in range(REPETITIONS):
        few = np.random.default_rng(seed).choice(len(others), STRANGERS, replace=False)
        unlike = outlyingness(nearest(directions_of(np.concatenate([own, others[few]]))))
        is_stranger = np.arange(len(unlike)) >= len(own)
        found = unlike > UNLIKE
        first = np.argsort(-unlike)[:STRANGERS]
        counts = (found & is_stranger).sum(), is_stranger[first].sum(), (found & ~is_stranger).sum()
        results.append(counts)
    return tuple(np.mean(results, axis=0).tolist())


def _wrong_labels(folder: _Folder) -> tuple[float, ...]:
    """Accuracy by true labels, flipped, suspect, precision, recall, suggestions that are right."""
    kept = folder.originals
    features, truth, ids = folder.features[kept], folder.labels[kept], folder.ids[kept]
    classes, every = len(folder.class_names), np.ones(len(truth), bool)
    results = []
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        flipped = rng.choice(len(truth), round(FLIPPED * len(truth)), replace=False)
        labels = truth.copy()
        labels[flipped] = (truth[flipped] + rng.integers(1, classes, len(flipped))) % classes
        folds = assign_folds(ids, labels, folder.class_names, 5)
        widths = (features.shape[1],)
        choice = choose(Rows(features, labels, classes, widths, folds, every, every))
        suspect = suspect_labels(labels[choice.images], choice.probabilities)
        rows = choice.images[suspect.rows]
        right = np.isin(rows, flipped)
        accuracy = (choice.probabilities.argmax(1) == truth[choice.images]).mean()
        guessed = (suspect.suggested[right] == truth[rows[right]]).mean()
        counts = len(flipped), len(rows), right.mean(), right.sum() / len(flipped)
        results.append((accuracy, *counts, guessed))
    return tuple(np.mean(results, axis=0).tolist())


def _foretold(folder: _Folder) -> tuple[float, float, float]:
    kept = folder.originals
    labels, widths = folder.labels[kept], [folder.features.shape[1]]
    folds = assign_folds(folder.ids[kept], labels, folder.class_names, 5)
    curve = learning_curve(folder.features[kept], widths, labels, len(folder.class_names), folds)
    assert curve is not None
    half = Curve(curve.sizes[:-1], curve.hits[:, :-1], curve.sizes[-2])
    return (*half.at(curve.sizes[-1]), float(curve.accuracies[-1]))

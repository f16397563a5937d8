"""What a user gets from the defaults on small folders of photographs, beside plain scikit-learn."""

import json
import os
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache import FeatureFile
from pipelines import features as features_stage
from pipelines.results import print_table
from pipelines.setup import Setup
from tests.benchmarks.commands import run_stage
from tests.benchmarks.timing import figure
from tests.places import SHARED
from transfer.backbones.options import BackboneOptions
from transfer.images.sources import DataOptions
from transfer.metrics import cross_entropy

PANEL = ("aerial20", "cats-and-dogs", "dogs-vs-horses", "flowers5", "textures10", "trashnet6")
"""Archives beside the project, where the variable PANEL names no folder of such."""
REPETITIONS = 3
STAGES = ("head", "sweep")
TUNED = "finetune"
"""After `head`, in its run."""
ARTIFACTS = Path("artifacts") / "panel"
BACKBONE = BackboneOptions("EfficientNetLite0", image_size=160, cut=("blocks",))
SHARE_OF_ERRORS = 0.85
"""Of the head's errors, those that `finetune` is to leave."""
GAIN, SHARE_OF_LOSS = 0.005, 0.85
"""What `head` is to reach: accuracy above, and log loss as a share of, the better of both."""


@dataclass(frozen=True)
class Scores:
    """Of the test images."""

    accuracy: float
    loss: float
    calibration_error: float
    seconds: float


def panel() -> list[dict]:
    """Runs `transfer head`, `transfer sweep` and scikit-learn on the same rows of each folder.

    Returns:
        Rows of the table: mean gains over the folders, and of each the distance to scikit-learn's
        better column in standard errors.
    """
    paths = folders()
    if not paths:
        print("bench: the panel is left out, no folder of it is at hand; give PANEL=folder")
        return []
    scores = {path.name.split(".")[0]: _of_folder(path) for path in paths}
    ways = list(next(iter(scores.values())))
    _show(scores, ways)
    return [row for stage in STAGES for row in _compared(stage, scores)]


def tuned() -> list[dict]:
    """Runs `transfer head` and then `transfer finetune`, both with their defaults, on each folder.

    Returns:
        Rows of the table: of each folder the distance to the head in standard errors, and the
        share of the head's errors and of its log loss that is left.
    """
    scores: dict[str, dict[str, list[Scores]]] = {}
    for seed in range(REPETITIONS):
        for path in folders():
            ways = scores.setdefault(path.name.split(".")[0], {"head": [], TUNED: []})
            data = DataOptions(str(path), val_fraction=0.2, test_fraction=0.3, split_seed=seed)
            ways["head"].append(_ours("head", data))
            ways[TUNED].append(_fine_tuned(data))
            _show(scores, ["head", TUNED])  # of an hour's work, what there is so far
    if not scores:
        print("bench: left out, no folder of the panel is at hand; give PANEL=folder")
        return []
    return list(_gains_of_tuning(scores))


def folders() -> list[Path]:
    """The panel's archives that are at hand, or what lies in the folder that PANEL names."""
    if folder := os.environ.get("PANEL"):
        return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    return [path for name in PANEL if (path := SHARED / f"{name}.tar.xz").exists()]


def _of_folder(path: Path) -> dict[str, list[Scores]]:
    """Scores by way, of each repetition."""
    scores: dict[str, list[Scores]] = {}
    for seed in range(REPETITIONS):
        data = DataOptions(str(path), val_fraction=0.2, test_fraction=0.3, split_seed=seed)
        for stage in STAGES:
            scores.setdefault(stage, []).append(_ours(stage, data))
        setup = Setup(data, BACKBONE, artifacts=ARTIFACTS)
        with features_stage.open_features(setup) as features:
            test = features_stage.split_of(features, data) == "test"
            for name, cuts in (("all cuts", features.cuts), ("top", features.cuts[-1:])):
                one = _plain(features, cuts, test)
                scores.setdefault(f"scikit-learn, {name}", []).append(one)
    return scores


def _ours(stage: str, data: DataOptions) -> Scores:
    run = f"{stage}-{Path(data.data).name}-{data.split_seed}"
    folder = ARTIFACTS / "runs" / run
    shutil.rmtree(folder, ignore_errors=True)
    flags = ["--data", data.data, "--val-fraction", "0.2", "--test-fraction", "0.3"]
    flags += ["--split-seed", str(data.split_seed), "--backbone", BACKBONE.backbone]
    flags += ["--image-size", "160", "--cut", "blocks"]
    flags += ["--artifacts", str(ARTIFACTS), "--run", run]
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    log = ARTIFACTS / f"{run}.log"
    run_stage("features", *flags, log=log)
    seconds, _ = run_stage(stage, *flags, log=log)
    run_stage("evaluate", *flags, "--no-pictures", log=ARTIFACTS / f"{run}-evaluate.log")
    return _scores(folder, "head", seconds)


def _fine_tuned(data: DataOptions) -> Scores:
    """`transfer finetune` alone after `transfer head`; what `predict` would take."""
    run = f"head-{Path(data.data).name}-{data.split_seed}"
    flags = ["--artifacts", str(ARTIFACTS), "--run", run]
    seconds, _ = run_stage("finetune", *flags, log=ARTIFACTS / f"{run}-finetune.log")
    run_stage("evaluate", *flags, "--no-pictures", log=ARTIFACTS / f"{run}-evaluate.log")
    folder = ARTIFACTS / "runs" / run
    moved = (folder / "finetuned.keras").exists()
    return _scores(folder, "finetuned" if moved else "head", seconds)


def _scores(folder: Path, model: str, seconds: float) -> Scores:
    test = json.loads((folder / "evaluation-test.json").read_text())["models"][model]
    return Scores(test["accuracy"], test["loss"], test["calibration_error"], seconds)


def _plain(features: FeatureFile, cuts: Sequence[str], test: np.ndarray) -> Scores:
    """Ten lines of scikit-learn. All principal components are a rotation: no fit sees it."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from tests.benchmarks.timing import seconds
    from transfer.metrics import calibration_error

    train = features.read(np.flatnonzero(~test), cuts).astype(np.float64)
    model = make_pipeline(StandardScaler(), PCA(), LogisticRegressionCV(max_iter=1000))
    took = seconds(lambda: model.fit(train, features.labels[~test]))
    said = model.predict_proba(features.read(np.flatnonzero(test), cuts).astype(np.float64))
    labels = features.labels[test]
    accuracy = float((said.argmax(1) == labels).mean())
    return Scores(accuracy, cross_entropy(said, labels), calibration_error(said, labels), took)


def _mean(scores: Sequence[Scores], what: str) -> float:
    return statistics.fmean(getattr(one, what) for one in scores)


def _better(ways: dict[str, list[Scores]]) -> tuple[float, float]:
    """The higher mean accuracy and the lower mean loss of scikit-learn's two, known afterwards."""
    plain = [scores for way, scores in ways.items() if way not in STAGES]
    return max(_mean(one, "accuracy") for one in plain), min(_mean(one, "loss") for one in plain)


def _compared(stage: str, scores: dict[str, dict[str, list[Scores]]]) -> Iterator[dict]:
    gains, losses, theirs, errors = [], [], [], []
    for name, ways in scores.items():
        accuracy, loss = _better(ways)
        ours = ways[stage]
        gains.append(_mean(ours, "accuracy") - accuracy)
        losses.append(_mean(ours, "loss"))
        theirs.append(loss)
        errors.append(_mean(ours, "calibration_error"))
        error = np.sqrt(accuracy * (1 - accuracy) / _test_images(name) / REPETITIONS)
        what = f"{stage} on {name}: standard errors above scikit-learn's better accuracy"
        yield figure(what, gains[-1] / max(error, 1e-9), -1)
    error = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    what = f"{stage}: points of accuracy above scikit-learn's better, +- {100 * error:.2f}"
    yield figure(what, 100 * statistics.fmean(gains), 100 * GAIN)
    share = statistics.fmean(losses) / statistics.fmean(theirs)
    yield figure(f"{stage}: {SHARE_OF_LOSS} / its share of the log loss", SHARE_OF_LOSS / share, 1)
    worst = max(errors)
    yield figure(f"{stage}: 0.05 / the largest calibration error of a folder", 0.05 / worst, 1)


def _gains_of_tuning(scores: dict[str, dict[str, list[Scores]]]) -> Iterator[dict]:
    """Fine-tuning beside the head that it began with."""
    before, after, losses = [], [], []
    for name, ways in scores.items():
        head, tuned = ways["head"], ways[TUNED]
        before.append(1 - _mean(head, "accuracy"))
        after.append(1 - _mean(tuned, "accuracy"))
        losses.append(_mean(tuned, "loss") / _mean(head, "loss"))
        error = np.sqrt(before[-1] * (1 - before[-1]) / _test_images(name) / REPETITIONS)
        what = f"finetune on {name}: standard errors above the head's accuracy"
        yield figure(what, (before[-1] - after[-1]) / max(error, 1e-9), -1)
    share = statistics.fmean(after) / statistics.fmean(before)
    yield figure(
        f"finetune: {SHARE_OF_ERRORS} / its share of the errors", SHARE_OF_ERRORS / share, 1
    )
    yield figure("finetune: the head's log loss / its own", 1 / statistics.fmean(losses), 1)


def _test_images(name: str) -> int:
    """How many images the first repetition tested on."""
    (path,) = (ARTIFACTS / "runs").glob(f"head-{name}*-0/evaluation-test.json")
    return json.loads(path.read_text())["models"]["head"]["num_images"]


def _show(scores: dict[str, dict[str, list[Scores]]], ways: Sequence[str]) -> None:
    """Accuracy, log loss, calibration error and seconds of each way on each folder."""
    rows = []
    for name, of_folder in scores.items():
        rows.append([name, *(_cell(of_folder[way]) for way in ways)])
    means = [[_mean(scores[name][way], "accuracy") for name in scores] for way in ways]
    losses = [[_mean(scores[name][way], "loss") for name in scores] for way in ways]
    rows.append(
        ["mean"]
        + [
            f"{statistics.fmean(accuracy):.4f} / {statistics.fmean(loss):.4f}"
            for accuracy, loss in zip(means, losses, strict=True)
        ]
    )
    splits = max(len(of_folder[ways[0]]) for of_folder in scores.values())
    title = f"test accuracy / log loss / calibration error / seconds, {splits} splits"
    print_table(title, ["folder", *ways], rows)


def _cell(scores: Sequence[Scores]) -> str:
    values = (_mean(scores, "accuracy"), _mean(scores, "loss"), _mean(scores, "calibration_error"))
    return " / ".join(f"{value:.3f}" for value in values) + f" / {_mean(scores, 'seconds'):.0f}"

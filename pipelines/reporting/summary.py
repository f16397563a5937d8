"""The first part of a page: the way from data to result, and how good it is."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cache.store import read_about
from pipelines.comparing.tables import words_of
from pipelines.counting import counted
from pipelines.evaluating.predictions import Predictions
from pipelines.features import describe
from pipelines.reporting.left import Left
from pipelines.runs import RUN_FILE
from transfer.comparing import compare
from transfer.intervals import Interval, accuracy_interval, balanced_interval, loss_interval


@dataclass(frozen=True)
class Step:
    """A stage on the way.

    Attributes:
        name: The stage's.
        did: Lines on what it did; none where it has not run.
        command: That runs it.
    """

    name: str
    did: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Scores:
    """A model's line in the table of scores.

    Attributes:
        model: Its name.
        accuracy: Share of images that are right.
        balanced: Mean over classes of that share.
        loss: Mean cross-entropy, nats.
        top5: Share of images whose class is among the five likeliest, or None.
        calibration_error: See `Evaluation`.
        without_leaked: Accuracy without images that an audit found among those learned from.
    """

    model: str
    accuracy: Interval
    balanced: Interval
    loss: Interval
    top5: float | None
    calibration_error: float
    without_leaked: float | None


def summary(left: Left) -> dict[str, Any]:
    """What the first part shows."""
    setup, told = left.setup, left.text(RUN_FILE)
    about = read_about(left.features.path) if left.features is not None else {}
    return {
        "steps": list(_steps(left, about)),
        "scores": list(_scores(left)),
        "compared": _compared(left.predictions) if left.predictions else [],
        "leaked": (left.evaluation or {}).get("leaked"),
        "run_file": told,
        "again": f"transfer features --recipe {shlex.quote(str(left.folder / RUN_FILE))}",
        "versions": {**about.get("versions", {}), "cached-transfer": version("cached-transfer")},
        "data": setup.data.data,
        "backbone": setup.backbone.backbone,
        "remarks": left.remarks,
    }


def _steps(left: Left, about: Mapping[str, Any]) -> Iterator[Step]:
    run = shlex.quote(left.folder.name)
    yield Step("features", tuple(_of_features(left, about)), f"transfer features --run {run}")
    yield Step("head", tuple(_of_head(left)), f"transfer head --run {run}")
    if left.sweep is not None:
        yield Step(
            "sweep",
            (f"{counted(left.sweep['tried'], 'head')} tried",),
            f"transfer sweep --run {run}",
        )
    yield Step("finetune", tuple(_of_tuning(left)), f"transfer finetune --run {run}")
    scored = [f"{left.split_name} accuracy of {one.model} {one.accuracy.value:.4f}"
              for one in _scores(left)]  # fmt: skip
    yield Step("evaluate", tuple(scored), f"transfer evaluate --run {run}")
    found = []
    if left.audit:
        findings = counted(len(left.findings), "finding")
        found = [f"{left.audit['images']:,} images, {findings}"]
    yield Step("audit", tuple(found), f"transfer audit --run {run}")


def _of_features(left: Left, about: Mapping[str, Any]) -> Iterator[str]:
    if left.features is None:
        return
    backbone = left.setup.backbone
    side = left.features.spec.image_size[0]
    yield f"{backbone.backbone} at {side} pixels"
    yield describe(left.features)
    speed = about.get("images_per_second")
    if "seconds" in about:
        rate = f", {speed:,.0f} images/s" if speed else ""
        yield f"made in {about['seconds']:,.1f} s{rate}"


def _of_head(left: Left) -> Iterator[str]:
    head = left.head
    if head is None:
        return
    if "chosen" in head:
        chosen = head["chosen"]
        sees, _, _ = chosen["sees"].partition(" (")  # the parts of an average are long
        yield f"linear on {sees}, of {chosen['tried']} compared"
        judged = "cross-validated" if chosen["folds"] > 1 else "validation"
        yield f"{judged} accuracy {chosen['accuracy']:.4f} ± {chosen['accuracy_error']:.4f}"
    else:
        hidden = head.get("head", {}).get("hidden") or ["no"]
        yield f"hidden {'-'.join(map(str, hidden))}, best epoch {head.get('best_epoch', '')}"
        yield f"validation accuracy {head['val_accuracy']:.4f}"
    yield f"in {head['seconds']:,.1f} s"


def _of_tuning(left: Left) -> Iterator[str]:
    tuning = left.tuning
    if tuning is None:
        return
    yield f"trained {tuning['trained']}"
    if tuning["share"]:
        before, after = tuning["before"]["val_loss"], tuning["after"]["val_loss"]
        yield f"{tuning['share']:.0%} of the way: log loss {before:.4f} → {after:.4f}"
    else:
        yield "nothing surely better: the frozen backbone stays"
    yield f"in {tuning['seconds']:,.1f} s"


def _compared(said: Predictions) -> list[str]:
    """Each model against the head, in words."""
    head, *others = said.probabilities
    pairs = {
        (other, head): compare(said.probabilities[other], said.probabilities[head], said.labels)
        for other in others
    }
    return [
        f"{counted(pair.first_right, 'image')} only {other} has right, {pair.second_right:,} only "
        f"{head}: {words}."
        for ((other, _), pair), words in zip(pairs.items(), words_of(pairs), strict=True)
    ]


def _scores(left: Left) -> Iterator[Scores]:
    if left.predictions is None or left.evaluation is None:
        return
    for model in left.predictions.probabilities:
        yield scores_of(left.predictions, model, left.evaluation)


def scores_of(said: Predictions, model: str, evaluation: Mapping[str, Any]) -> Scores:
    """A model's line: scores as `evaluate` wrote them, with intervals."""
    told = evaluation["models"][model]
    right = said.right(model)
    return Scores(
        model,
        accuracy_interval(right),
        balanced_interval(right, said.labels),
        loss_interval(said.probabilities[model], said.labels),
        told["top5"],
        told["calibration_error"],
        evaluation.get("accuracy_without_leaked", {}).get(model),
    )

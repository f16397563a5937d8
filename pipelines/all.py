"""All stages of a recipe in a row, and a table of what each did."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from cache import FeatureFile
from pipelines import evaluate, features, finetune, head, report
from pipelines.counting import counted
from pipelines.evaluate import EvaluateStage
from pipelines.features import FeaturesStage
from pipelines.finetune import FinetuneStage
from pipelines.head import HeadStage
from pipelines.home import with_homes
from pipelines.models import CLASSIFIER, FINETUNED
from pipelines.recipes import fill
from pipelines.report import ReportStage
from pipelines.results import print_table
from pipelines.runs import tables_of
from pipelines.setup import Setup


@dataclass(frozen=True)
class AllStages:
    """Run features, head, fine-tune, evaluate and report by a recipe, and sum them up."""

    setup: Setup = field(default_factory=Setup)


def run(stage: AllStages) -> list[list[object]]:
    """Runs every stage and prints a table of them.

    Returns:
        The table's rows: stage, what it did, what it reached, seconds, where it is.
    """
    setup = stage.setup
    tables = tables_of(setup) if setup.recipe or setup.run else {}

    def options(kind: type, name: str) -> Any:
        return with_homes(replace(fill(kind(), tables, name), setup=setup))

    rows: list[list[object]] = []

    def note(name: str, did: str, reached: str, started: float, where: object) -> None:
        rows.append([name, did, reached, f"{time.monotonic() - started:.1f}", where])

    started = time.monotonic()
    with FeatureFile(features.run(FeaturesStage(setup))) as file:
        note("features", features.describe(file), "", started, file.path)
    started = time.monotonic()
    trained = head.run(options(HeadStage, "head"))
    reached = f"val accuracy {trained['val_accuracy']:.4f}"
    where = setup.run_folder
    did = counted(trained["epochs"], "epoch") if "epochs" in trained else "chosen"
    note("head", did, reached, started, where / CLASSIFIER)
    started = time.monotonic()
    tuned = finetune.run(options(FinetuneStage, "finetune"))
    before, after = (tuned[when]["val_accuracy"] for when in ("before", "after"))
    reached = f"val accuracy {before:.4f} -> {after:.4f}"
    moved = f"{counted(tuned['epochs'], 'epoch')}, {tuned['share']:.0%} of the way"
    note("finetune", moved, reached, started, where / (FINETUNED if tuned["share"] else CLASSIFIER))
    started = time.monotonic()
    scores = evaluate.run(options(EvaluateStage, "evaluate"))
    for name, score in scores["models"].items():
        did = counted(score["num_images"], f"{scores['split']} image")
        reached = f"{scores['split']} accuracy {score['accuracy']:.4f}"
        note(f"evaluate {name}", did, reached, started, where / f"confusion-{name}.png")
        started = time.monotonic()
    page = report.run(ReportStage(setup, split=scores["split"]))
    note("report", "one page of all that", "", started, page)
    print_table("What each stage did", ["stage", "did", "reached", "seconds", "file"], rows)
    return rows

"""The comparison stage: runs, and the models in each, side by side on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from pipelines.comparing.differing import write_differing
from pipelines.comparing.evaluated import Evaluated, read_runs
from pipelines.comparing.matching import Matched, match
from pipelines.comparing.page import write_page
from pipelines.comparing.tables import print_models, print_pairs
from transfer.comparing import Comparison, compare
from transfer.errors import InputError
from transfer.names import shown

MOST_IN_PAIRS = 6
"""Models that are all compared with one another; more are compared with the first alone."""


@dataclass(frozen=True)
class CompareStage:
    """Say which of some runs is surely better, and on which images they differ.

    No model runs: what `transfer evaluate` left of them is read.
    """

    runs: Positional[tuple[str, ...]] = ()
    """Names of folders under artifacts/runs, latest, or paths of runs; the models of one alone are
    compared with one another. By default the last run."""
    split: Literal["test", "val", "train"] = "test"
    """Images that they were evaluated on."""
    artifacts: Path = Path("artifacts")
    """Folder for everything that is written."""
    output: Path | None = None
    """A .csv file for the images on which models differ, beside which an .html file shows them; by
    default compare-test.csv, named after the split, in the folder of the first run."""


def run(stage: CompareStage) -> dict[tuple[str, str], Comparison]:
    """Prints tables of models and of pairs, and writes the images on which models differ.

    Returns:
        By the names of two models how they compare.

    Raises:
        InputError: If a run is not there, or was not evaluated as it is now, if there is but one
            model, or the runs have no images or not all classes in common.
    """
    if stage.output and stage.output.suffix.lower() != ".csv":
        raise InputError(f"--output expects a .csv file, received {stage.output}")
    runs = read_runs(stage.artifacts / "runs", stage.runs, stage.split)
    matched = match(runs)
    names = list(matched.probabilities)
    if len(names) < 2:
        raise InputError(
            f"expected two models or more, received {names[0]} of run {shown(runs[0].name)} alone; "
            "name another run, or fine-tune this one and evaluate it"
        )
    _say_what_differs(stage, runs, matched)
    print_models(matched, stage.split)
    pairs = {
        (one, other): compare(
            matched.probabilities[one], matched.probabilities[other], matched.labels
        )
        for one, other in _pairs(names)
    }
    print_pairs(pairs)
    path = stage.output or runs[0].folder / f"compare-{stage.split}.csv"
    count = write_differing(path, matched)
    page = path.with_suffix(".html")
    write_page(page, matched, pairs, runs, stage.split)
    print(
        f"compare: {count:,} of {len(matched.ids):,} images are classed differently, in {path}, "
        f"and to look at in {page}"
    )
    return pairs


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    if len(names) <= MOST_IN_PAIRS:
        return list(combinations(names, 2))
    print(
        f"compare: {len(names)} models are too many for all pairs; each is compared with the first"
    )
    return [(names[0], other) for other in names[1:]]


def _say_what_differs(stage: CompareStage, runs: Sequence[Evaluated], matched: Matched) -> None:
    for name, count in matched.left_out.items():
        if count:
            print(
                f"compare: {count:,} of {count + len(matched.ids):,} images of {shown(name)} are "
                f"left out, which are not in the {stage.split} split of all"
            )
    data = sorted({run.data.data for run in runs})
    if len(data) > 1:
        print(
            f"compare: the data are called {shown(', '.join(data))}; images of one name are taken "
            "to be the same"
        )
    if stage.split != "test":
        print(
            f"compare: models may have learned from {stage.split} images or been chosen by them, "
            "which flatters some more than others"
        )

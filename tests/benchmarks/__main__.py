"""`make bench`: ratios of two things timed side by side in the same run, with their spread.

Machines are shared and noisy, so that seconds mean little and ratios of neighbours in time mean
much. Each pair is run in turn, A B A B, and the median ratio is given with the extremes. Names
on the command line choose among the subjects: quick is those of a few minutes, none is all but
those that take half an hour and more.
"""

import sys
import time
from pathlib import Path

from pipelines.results import print_table
from tests.benchmarks import cifar
from tests.benchmarks.audit import audit
from tests.benchmarks.baselines import logistic_path
from tests.benchmarks.cost import cost
from tests.benchmarks.engines import engines
from tests.benchmarks.extraction import pipeline, storing
from tests.benchmarks.heads import banks, head_training
from tests.benchmarks.loop import epochs
from tests.benchmarks.millions import millions
from tests.benchmarks.panel import panel, tuned
from tests.benchmarks.prefix import prefix
from tests.benchmarks.recipes import recipes
from tests.benchmarks.start import cold_and_warm, start, unchanged
from tests.benchmarks.store import store
from tests.benchmarks.stored import in_words, read_rows, write_rows
from tests.benchmarks.sweep import default_sweep
from tests.benchmarks.unknown import unknown

SUBJECTS = {
    "store": store,
    "extraction": storing,
    "pipeline": pipeline,
    "engines": engines,
    "cost": cost,
    "start": start,
    "cold": cold_and_warm,
    "unchanged": unchanged,
    "loop": epochs,
    "heads": lambda: [head_training()],
    "banks": banks,
    "logistic": lambda: [logistic_path(cifar.data())],
    "sweep": default_sweep,
    "recipes": recipes,
    "prefix": prefix,
    "panel": panel,
    "tuned": tuned,
    "unknown": unknown,
    "audit": audit,
    "millions": millions,
}

QUICK = ("store", "start", "prefix")
BY_NAME = ("panel", "tuned", "recipes", "millions")
"""Take half an hour and more, and so run only where they are named."""


def main(words: list[str]) -> None:
    """Runs comparisons, prints a table, and keeps each figure in `artifacts/bench.json`."""
    path = Path("artifacts") / "bench.json"
    stored = read_rows(path)
    rows = []
    for name in _chosen(words):
        started = time.monotonic()
        measured = SUBJECTS[name]()
        print(f"bench: {name} took {time.monotonic() - started:.0f} s", flush=True)
        write_rows(path, stored, rows := rows + measured)  # what was measured outlives what fails
    cells = [
        ["" if cell is None else cell for cell in row.values()] + [in_words(row, stored)]
        for row in rows
    ]
    if rows:
        print_table("ratios", [*rows[0], ""], cells)
    print(f"bench: also in {path}, with the last figures of other subjects")


def _chosen(words: list[str]) -> list[str]:
    if unknown := sorted({*words} - {*SUBJECTS, "quick"}):
        print(
            f"bench: expected quick or some of {', '.join(SUBJECTS)}; received {unknown[0]!r}",
            file=sys.stderr,
        )
        sys.exit(2)
    names = [name for word in words for name in (QUICK if word == "quick" else (word,))]
    return list(dict.fromkeys(names)) or [name for name in SUBJECTS if name not in BY_NAME]


if __name__ == "__main__":
    main(sys.argv[1:])

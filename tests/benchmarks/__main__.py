"""`make bench`: ratios of two things timed side by side in the same run, with their spread.

Machines are shared and noisy, so that seconds mean little and ratios of neighbours in time mean
much. Each pair is run in turn, A B A B, and the median ratio is given with the extremes. Names
on the command line choose among the subjects; none is all.
"""

import json
import sys
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
from tests.benchmarks.panel import panel, tuned
from tests.benchmarks.prefix import prefix
from tests.benchmarks.recipes import recipes
from tests.benchmarks.start import cold_and_warm, start
from tests.benchmarks.store import store
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
}


def main(chosen: list[str]) -> None:
    """Runs all comparisons, prints a table and writes `artifacts/bench.json`."""
    results = [row for name in chosen or SUBJECTS for row in SUBJECTS[name]()]
    cells = [["" if cell is None else cell for cell in row.values()] for row in results]
    print_table("ratios", list(results[0]), cells)
    path = Path("artifacts") / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"bench: also in {path}")


if __name__ == "__main__":
    main(sys.argv[1:])

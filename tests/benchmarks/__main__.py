"""`make bench`: ratios of two things timed side by side in the same run, with their spread.

Machines are shared and noisy, so that seconds mean little and ratios of neighbours in time mean
much. Each pair is run in turn, A B A B, and the median ratio is given with the extremes.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.results import print_table
from transfer.startup import import_keras

REPETITIONS = 5


def seconds(run: Callable[[], object]) -> float:
    """Wall seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(name: str, baseline: Callable[[], object], ours: Callable[[], object]) -> dict:
    """Times two things in turn; the ratio says how many times faster ours is."""
    baseline(), ours()  # compiled and cached before anything counts
    pairs = [(seconds(baseline), seconds(ours)) for _ in range(REPETITIONS)]
    ratios = [slow / fast for slow, fast in pairs]
    return {
        "what": name,
        "baseline seconds": round(statistics.median(slow for slow, _ in pairs), 3),
        "our seconds": round(statistics.median(fast for _, fast in pairs), 3),
        "ratio": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }


def head_training() -> dict:
    """Two epochs of a linear head on 50,000 x 1,280 features: `Model.fit` as is against ours."""
    import_keras()
    from transfer.fitting import FitOptions, fit_head
    from transfer.heads import HeadOptions, build_head

    rng = np.random.default_rng(0)
    features = rng.normal(size=(50_000, 1280)).astype(np.float32)
    labels = rng.integers(0, 10, 50_000)
    few = features[:1000], labels[:1000]
    options = FitOptions(epochs=2, batch_size=256, learning_rate=1e-3, schedule="constant")

    def head():
        return build_head(HeadOptions(), np.zeros(1280), np.ones(1280), (1280,), 10)

    def plain():
        model = head()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(features, labels, batch_size=256, epochs=2, validation_data=few, verbose=0)

    return compare(
        "head training: Model.fit / fit_head",
        plain,
        lambda: fit_head(head(), features, labels, *few, options),
    )


def warm_start() -> dict:
    """The features stage on the digits where they are cached: against importing Keras alone."""
    with tempfile.TemporaryDirectory() as folder:
        features = [sys.executable, "-m", "pipelines.cli", "features", "--recipe", "demo"]
        features += ["--artifacts", folder, "--limit-per-class", "5"]
        return compare(
            "second run of features: import keras / all of it",
            lambda: subprocess.run([sys.executable, "-c", "import keras"], capture_output=True),
            lambda: subprocess.run(features, capture_output=True, check=True),
        )


def main() -> None:
    """Runs all comparisons, prints a table and writes `artifacts/bench.json`."""
    results = [head_training(), warm_start()]
    print_table("ratios", list(results[0]), [list(result.values()) for result in results])
    path = Path("artifacts") / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"bench: also in {path}")


if __name__ == "__main__":
    main()

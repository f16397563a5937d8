"""How soon a stage finds that its features are cached."""

import subprocess
import sys
import tempfile

from tests.benchmarks.timing import compare


def second_run() -> list[dict]:
    """The features stage on the digits where they are cached, a process from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        features = [sys.executable, "-m", "pipelines.cli", "features", "--recipe", "demo"]
        features += ["--artifacts", folder, "--limit-per-class", "5"]
        return [
            compare(
                f"second run of features: python -c {code!r} / all of it",
                lambda code=code: subprocess.run([sys.executable, "-c", code], capture_output=True),
                lambda: subprocess.run(features, capture_output=True, check=True),
            )
            for code in ("pass", "import keras")
        ]

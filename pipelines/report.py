"""The report stage: one page that shows what the stages of a run left."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cache.durable import whole_file
from pipelines.progress import waiting
from pipelines.setup import Setup

REPORT = "report.html"
"""In a run's folder."""


@dataclass(frozen=True)
class ReportStage:
    """Write one page of data, training, mistakes and model, from what has run so far.

    The page is one file without anything outside of it. No stage runs again for it; what has not
    run is missing there.
    """

    setup: Setup = field(default_factory=Setup)
    split: Literal["test", "val", "train"] = "test"
    """Of which scores, mistakes and the map are shown."""
    output: Path | None = None
    """Where the page goes; by default report.html in the run's folder."""


def run(stage: ReportStage) -> Path:
    """Writes the page.

    Returns:
        Where it is.

    Raises:
        InputError: If there is no run yet.
    """
    from pipelines.reporting.left import read_left
    from pipelines.reporting.page import page_of

    started = time.monotonic()
    left = read_left(stage.setup, stage.split)
    try:
        with waiting("writing the report"):
            page = page_of(left)
    finally:
        if left.features is not None:
            left.features.close()
    path = stage.output or stage.setup.run_folder / REPORT
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    for remark in left.remarks:
        print(f"report: {remark}")
    size = path.stat().st_size / 1e6
    print(f"report: {path}, {size:.1f} MB, in {time.monotonic() - started:.1f} s")
    return path

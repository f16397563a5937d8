"""How tests share a machine: which begin first, and how many processors each process takes.

Files that take longest begin first, so that no process ends alone.
"""

import os
from pathlib import Path

# Before NumPy comes: threads of one process that wait by turning round keep the other from working.
SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if SIDE_BY_SIDE > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE)))

LONGEST = (
    "pipelines/test_all.py",
    "docs/test_commands.py",
    "transfer/exporting/test_exporter.py",
    "transfer/extraction/test_openvino_engine.py",
    "pipelines/extracting/test_worker_deaths.py",
    "transfer/extraction/test_backends.py",
    "pipelines/extracting/test_full_disk.py",
    "pipelines/extracting/test_concurrency.py",
    "transfer/test_classifier.py",
    "pipelines/extracting/test_workers.py",
    "transfer/heads/test_fitting.py",
    "pipelines/test_sweep.py",
    "pipelines/extracting/test_kills.py",
    "transfer/backbones/test_weights.py",
    "pipelines/test_finetune.py",
    "pipelines/test_head.py",
    "transfer/backbones/test_views.py",
    "transfer/finetuning/test_tuning.py",
    "transfer/heads/test_bank.py",
    "transfer/heads/test_bank_on_backends.py",
    "docs/test_examples.py",
    "pipelines/machine/test_parallel.py",
)
"""Files by the time that they take, down to some ten seconds; the order of the others is no
matter."""
assert all((Path(__file__).parent / name).is_file() for name in LONGEST), "one has moved"


def pytest_collection_modifyitems(items):
    def place(item):
        path = item.path.as_posix()
        return next((at for at, end in enumerate(LONGEST) if path.endswith(end)), len(LONGEST))

    items.sort(key=place)  # stable: tests of a file stay as they are

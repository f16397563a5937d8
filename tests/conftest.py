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
    "pipelines/test_sweep.py",
    "transfer/heads/test_fitting.py",
    "transfer/extraction/test_openvino_engine.py",
    "transfer/exporting/test_exporter.py",
    "docs/test_commands.py",
    "pipelines/test_finetune.py",
    "transfer/test_classifier.py",
    "pipelines/test_chosen_head.py",
    "transfer/heads/test_bank.py",
    "transfer/backbones/test_weights.py",
    "pipelines/test_head.py",
    "transfer/backbones/test_views.py",
    "pipelines/extracting/test_kills.py",
    "transfer/extraction/test_backends.py",
    "transfer/finetuning/test_tuning.py",
    "docs/test_examples.py",
    "pipelines/machine/test_parallel.py",
    "transfer/heads/test_bank_on_backends.py",
    "pipelines/extracting/test_concurrency.py",
    "pipelines/extracting/test_workers.py",
    "pipelines/extracting/test_full_disk.py",
    "transfer/heads/test_options.py",
    "transfer/finetuning/test_augmentation.py",
    "pipelines/test_cache.py",
    "transfer/finetuning/test_suffix.py",
)
"""Files by the time that they take, down to some twenty seconds; the order of the others is no
matter."""
assert all((Path(__file__).parent / name).is_file() for name in LONGEST), "one has moved"


def pytest_collection_modifyitems(items):
    def place(item):
        path = item.path.as_posix()
        return next((at for at, end in enumerate(LONGEST) if path.endswith(end)), len(LONGEST))

    items.sort(key=place)  # stable: tests of a file stay as they are

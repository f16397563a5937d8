"""What an interrupted fine-tuning left, and rates at which one lost its way."""

import json
import shutil
from pathlib import Path
from typing import Any

from cache.durable import whole_file
from pipelines.results import write_json
from transfer.errors import InputError

DIVERGED = "finetune-diverged.json"
STEP_BACK = 10.0
"""A rate that the test finds is taken so many times below one that diverged."""


class Checkpoints:
    """The folder in which a fine-tuning keeps its state until it is done.

    Args:
        run_folder: The run's.
        setup: All that decides on the result, as JSON can say it, the learning rate apart.
        rate: The learning rate, if one is given.
    """

    def __init__(self, run_folder: Path, setup: Any, rate: float | None) -> None:
        self.folder = run_folder / "finetune-checkpoints"
        self._diverged, self._rate = run_folder / DIVERGED, rate
        self._setup = json.dumps(setup, default=str, sort_keys=True)
        wanted = f"{self._setup} {rate}"
        marker = self.folder / "setup.json"
        known = marker.read_text(encoding="utf-8") if marker.exists() else None
        if self.folder.exists() and known != wanted:
            print("finetune: options differ from those of the interrupted run, starting anew")
            shutil.rmtree(self.folder)
        elif self.folder.exists():
            print("finetune: going on after the last whole epoch of the interrupted run")
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(marker) as temporary:
            temporary.write_text(wanted, encoding="utf-8")

    def of_fold(self, number: int) -> Path:
        """Where the training of a fold keeps its state."""
        return self.folder / f"fold-{number}"

    def known(self, name: str) -> Any:
        """What `remember` was told; None if it was not."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def remember(self, name: str, value: Any) -> None:
        """Keeps a small result for a run that goes on."""
        write_json(self.folder / f"{name}.json", value)

    def limit(self) -> float | None:
        """The highest rate to take where the same diverged before; None if it did not.

        Raises:
            InputError: If the rate that is given is no lower than that one.
        """
        if not self._diverged.exists():
            return None
        noted = json.loads(self._diverged.read_text(encoding="utf-8"))
        if noted["setup"] != self._setup:
            return None
        diverged = float(noted["rate"])
        if self._rate is not None and self._rate >= diverged:
            shutil.rmtree(self.folder)  # nothing was begun that could go on
            raise InputError(
                f"--learning-rate expects less than {diverged:.3g}, at which this diverged the "
                f"last time, received {self._rate:.3g}"
            )
        return diverged / STEP_BACK

    def note_divergence(self, rate: float) -> None:
        """Has the next run take another rate, from the start."""
        shutil.rmtree(self.folder)
        write_json(self._diverged, {"rate": rate, "setup": self._setup})

    def remove(self) -> None:
        """Forgets all, once the result is saved."""
        shutil.rmtree(self.folder)
        self._diverged.unlink(missing_ok=True)

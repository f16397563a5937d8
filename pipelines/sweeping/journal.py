"""The journal of a sweep: after each rung what a group of heads has come to, and its weights."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.durable import remove_leftovers, whole_file
from cache.lock import entry_lock


@dataclass(frozen=True)
class Entry:
    """What is known of a group after a rung.

    Attributes:
        notes: JSON-able: rungs done, histories.
        states: Per fold what its bank goes on from.
    """

    notes: Mapping[str, Any]
    states: list[dict[str, np.ndarray]]


class Journal:
    """One file per group, replaced whole after each rung: a kill loses the rung at work only.

    Args:
        folder: Where the files go; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Waits until no other sweep is at work in the folder, and holds others off.

        Args:
            on_wait: Called once, if there is something to wait for, with the words who holds it.
        """
        with entry_lock(self._folder, on_wait) as held:
            if held:
                remove_leftovers(self._folder)
            yield

    def write(self, key: str, entry: Entry) -> None:
        """Replaces what is known of a group.

        Raises:
            CacheError: If the disk is full.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{fold}/{name}": array
            for fold, state in enumerate(entry.states)
            for name, array in state.items()
        }
        listed = {"notes": entry.notes, "folds": len(entry.states), "arrays": list(arrays)}
        notes = np.frombuffer(json.dumps(listed).encode(), np.uint8)
        with whole_file(self._path(key)) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, notes=notes, **arrays)

    def read(self, key: str) -> Entry | None:
        """What is known of a group; None if nothing is, or the file is damaged."""
        try:
            with np.load(self._path(key)) as file:
                listed = json.loads(file["notes"].tobytes())
                if [name for name in file.files if name != "notes"] != listed["arrays"]:
                    raise ValueError("arrays are missing")
                states: list[dict[str, np.ndarray]] = [{} for _ in range(listed["folds"])]
                for name in file.files:
                    fold, slash, field = name.partition("/")
                    if slash:
                        states[int(fold)][field] = file[name]
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged zip raises anything; training again mends it
            why = type(error).__name__
            print(f"sweep: {self._path(key)} is damaged ({why}); its heads train again")
            return None
        return Entry(listed["notes"], states)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

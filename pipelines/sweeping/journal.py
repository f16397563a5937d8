"""The journal of a sweep: after each rung what a group of heads has come to, and its weights."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.durable import remove_leftovers, whole_file
from cache.lock import entry_lock

FOLDER = "sweep"
"""Of a run: where its journal is."""
SEARCH = "search.json"
"""Beside the groups: keys of those that the last search has."""


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

    def begin(self, keys: Iterable[str]) -> None:
        """Notes which groups the search at work has, before it trains any; to be called locked.

        Raises:
            CacheError: If the disk is full.
        """
        with whole_file(self._folder / SEARCH) as temporary:
            temporary.write_text(json.dumps(sorted(keys), indent=1) + "\n", encoding="utf-8")

    def files(self) -> list[Path]:
        """Those of all searches, one a group."""
        return sorted(self._folder.glob("*.npz"))

    def files_of_others(self) -> list[Path]:
        """Those of other searches than the last; none where nothing says which that was."""
        try:
            keys = json.loads((self._folder / SEARCH).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [path for path in self.files() if path.stem not in keys]

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

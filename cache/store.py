"""The store as a whole: its entries, the nearest to a spec, removing and pruning."""

import json
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from cache.digest_index import DigestIndex
from cache.donors import same_but_for_images_and_cuts
from cache.durable import whole_file
from cache.errors import CacheError
from cache.lock import entry_lock
from cache.reader import SEALED, FeatureFile
from cache.spec import FeatureSpec
from cache.verify import sound_rows

_NAME = re.compile("[0-9a-f]{16}")
ABOUT = "about.json"
"""Beside the features: facts about the run that made them, which do not belong into the file,
for two runs must write the same bytes."""


@dataclass(frozen=True)
class Entry:
    """One folder of the store.

    Attributes:
        folder: The folder.
        state: `"sealed"`, `"unfinished"` or `"unreadable"`.
        num_bytes: Bytes of all its files.
        modified: When anything in it was last written, seconds since 1970.
        spec: What the features were made from; None if not sealed.
        num_rows: Rows, 0 if not sealed.
        cuts: Names and row shapes of the cuts, empty if not sealed.
        about: Facts about the run that made it; may be empty.
        problem: Why it is unreadable, or "".
    """

    folder: Path
    state: str
    num_bytes: int
    modified: float
    spec: FeatureSpec | None
    num_rows: int
    cuts: dict[str, tuple[int, ...]]
    about: dict[str, Any]
    problem: str

    @property
    def name(self) -> str:
        """The first 16 digits of the key."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The sealed file, whether it exists or not."""
        return self.folder / SEALED


def entries(root: Path) -> list[Entry]:
    """All entries, oldest first; reads no features. A folder with a mere lock is none."""
    folders = [path for path in _folders(root) if _holds_something(path)]
    return sorted(map(_entry, folders), key=lambda entry: (entry.modified, entry.name))


def find_entry(root: Path, name: str) -> Entry:
    """The entry whose key begins with `name`.

    Raises:
        CacheError: If there is none, or several; lists what is there.
    """
    names = [path.name for path in _folders(root)]
    found = [one for one in names if name and (one.startswith(name) or name.startswith(one))]
    if len(found) != 1:
        there = ", ".join(sorted(found or names)) or "none"
        raise CacheError(
            f"expected the beginning of one key, received {name!r}; {there} "
            f"{'match' if found else 'in the store'} ({root})"
        )
    return _entry(Path(root) / found[0])


def nearest(root: Path, spec: FeatureSpec) -> FeatureSpec | None:
    """The spec in the store that differs from this one in the fewest fields."""
    specs = [entry.spec for entry in entries(root) if entry.spec]
    return min(specs, key=lambda other: len(spec.differences(other)), default=None)


def write_about(features_path: Path, about: dict[str, Any]) -> None:
    """Writes the facts about the run that made a file beside it."""
    with whole_file(features_path.with_name(ABOUT)) as temporary:
        temporary.write_text(
            json.dumps(about, indent=1, sort_keys=True, default=str) + "\n", encoding="utf-8"
        )


def read_about(features_path: Path) -> dict[str, Any]:
    """Reads what `write_about` wrote; empty if it is not there, or nothing of ours."""
    try:
        about = json.loads(features_path.with_name(ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    tables = isinstance(about, dict) and [about.get(name, {}) for name in ("data", "backbone")]
    return about if tables and all(isinstance(table, dict) for table in tables) else {}


def remove(entry: Entry) -> None:
    """Removes an entry; the file goes first, so that a half-removed entry is no entry.

    Raises:
        CacheError: If a run is working on it.
    """

    def refuse(holder: str) -> None:
        raise CacheError(f"{entry.name} is being written by {holder}; stop that, or wait for it")

    with entry_lock(entry.folder, refuse):
        entry.path.unlink(missing_ok=True)
        shutil.rmtree(entry.folder)


def contained(root: Path, without: Collection[str] = ()) -> Iterator[tuple[Entry, Entry]]:
    """Entries that another one holds whole: `(entry, the other)`.

    Every image and every cut of theirs is in the other, sound and made by the same spec; they could
    be had back from it without running the backbone.

    Args:
        root: Folder of the store.
        without: Names of entries that are neither given up nor counted on.
    """
    sealed = [entry for entry in entries(root) if entry.spec and entry.name not in without]
    gone: set[str] = set()
    for entry in sealed:
        for other in sealed:
            if other.name != entry.name and other.name not in gone and _holds(other, entry):
                gone.add(entry.name)
                yield entry, other
                break


def _holds(other: Entry, entry: Entry) -> bool:
    assert entry.spec and other.spec
    if not same_but_for_images_and_cuts(other.spec, entry.spec) or set(entry.cuts) - {*other.cuts}:
        return False
    try:
        with FeatureFile(entry.path) as small, FeatureFile(other.path) as large:
            held = DigestIndex(small.image_digests).find(large.digest_blocks()) >= 0
            return bool(held.all()) and all(sound_rows(large, cut).all() for cut in entry.cuts)
    except CacheError:
        return False


def _folders(root: Path) -> list[Path]:
    """Folders that bear a key's first digits; any other in the store is somebody else's."""
    return [
        path
        for path in Path(root).glob("*")
        if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def _holds_something(folder: Path) -> bool:
    return any(path.name != ".lock" for path in folder.rglob("*") if path.is_file())


def _entry(folder: Path) -> Entry:
    stats = []
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a run at work renames its temporary files
            stats.append(file.stat())
    path = folder / SEALED
    spec, num_rows, cuts, problem, state = None, 0, dict[str, tuple[int, ...]](), "", "unfinished"
    if path.exists():
        try:
            with FeatureFile(path) as features:
                spec, num_rows, state = features.spec, len(features), "sealed"
                cuts = {cut: features.shape(cut) for cut in features.cuts}
        except CacheError as error:
            state, problem = "unreadable", str(error)
    return Entry(
        folder=folder,
        state=state,
        num_bytes=sum(stat.st_size for stat in stats if S_ISREG(stat.st_mode)),
        modified=max([stat.st_mtime for stat in stats], default=folder.stat().st_mtime),
        spec=spec,
        num_rows=num_rows,
        cuts=cuts,
        about=read_about(path),
        problem=problem,
    )

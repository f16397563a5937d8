"""The journals of all runs: what they take, and forgetting searches that nobody goes on with."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheError
from pipelines.sweeping.journal import FOLDER, Journal


@dataclass(frozen=True)
class Kept:
    """Files of a run's journal.

    Attributes:
        run: Name of the run.
        files: One a group of heads that were trained together.
        num_bytes: Of all files.
    """

    run: str
    files: int
    num_bytes: int


def journals(runs: Path) -> dict[str, Journal]:
    """Journals with something in them by the names of their runs; links to runs do not count."""
    folders = [path for path in sorted(runs.glob("*")) if not path.is_symlink()]
    found = {folder.name: Journal(folder / FOLDER) for folder in folders}
    return {run: journal for run, journal in found.items() if journal.files()}


def kept(run: str, files: Iterable[Path]) -> Kept:
    """How many files there are, and how large; a sweep at work may replace them meanwhile."""
    sizes = []
    for path in files:
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return Kept(run, len(sizes), sum(sizes))


def forget(run: str, journal: Journal, everything: bool, dry_run: bool) -> Kept:
    """Removes what was written down for other searches than the last.

    Args:
        run: Name of the run.
        journal: Of the run.
        everything: Whether to remove what the last search needs to go on, too.
        dry_run: Whether to remove nothing.

    Returns:
        What is removed, or would be.

    Raises:
        CacheError: If a sweep is at work in the run.
    """

    def doomed() -> list[Path]:
        return journal.files() if everything else journal.files_of_others()

    def refuse(holder: str) -> None:
        raise CacheError(f"run {run} is being searched by {holder}; stop that, or wait for it")

    if dry_run:
        return kept(run, doomed())
    with journal.locked(refuse):
        files = doomed()  # as the search says that was the last to hold the lock
        removed = kept(run, files)
        for path in files:
            path.unlink()
    return removed

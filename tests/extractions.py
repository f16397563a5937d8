"""Extractions as processes of their own, which can be told to die or meet a full disk.

`python -m tests.extractions [switches] features --data ...` is the command line as a user types
it, on real images, with parts of 64 rows so that there are many of them. Everything that changes
the disk is an *event*; events are counted per stage, and the switches say what happens at which:

    running, writing, sealing, after    (after: the sealed file is there, its parts are not gone)

A stub replaces the backbone where `--fast` is given: all but Keras is real, and it takes a second.
"""

import argparse
import contextlib
import functools
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest.mock
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache import FeatureFile
from cache.parts import Part
from tests.places import PROJECT

ROWS_PER_PART = 64
NUM_ROWS = 1797
STAGES = ("running", "writing", "sealing", "after")
FAST_CUTS = {"early": 48, "top": 256}
OPTIONS = [
    *["features", "--data", "digits", "--backbone", "EfficientNetLite0", "--image-size", "32"],
    *["--cut", "top", "--artifacts"],
]
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # a kill by file size must not tear Python's own files
}


# --- the child ---------------------------------------------------------------------------------


class Events:
    """Counts what happens to the disk, writes each event down, and acts at one of them.

    Args:
        journal: One line per event goes here, so that the stage is known however the child dies.
        actions: `"sealing:3"` (the third event of that stage) or `"sealing close:3"` (the third
            that has this name), and what to do before it.
    """

    def __init__(self, journal: Path, actions: dict[str, Callable[[], None]]) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._actions = actions
        self._stage = "running"
        self._counts = Counter[str]()
        self.happens("begins")

    def happens(self, what: str) -> None:
        self._counts.update([self._stage, f"{self._stage} {what}"])
        with contextlib.suppress(OSError):  # the journal is under the child's limits as well
            os.write(self._journal, f"{self._stage} {what}\n".encode())
        for event in (self._stage, f"{self._stage} {what}"):
            self._actions.get(f"{event}:{self._counts[event]}", lambda: None)()

    def enter(self, stage: str) -> None:
        self._stage = stage
        self.happens("begins")

    def watch(self, owner: object, name: str) -> None:
        """Makes each call of `owner.name` an event that happens before the call."""
        call = getattr(owner, name)

        @functools.wraps(call)
        def watched(*args, **kwargs):
            self.happens(name)
            return call(*args, **kwargs)

        setattr(owner, name, watched)

    def stage(self, owner: type, name: str, stage: str, then: str) -> None:
        """Makes each call of `owner.name` a stage, followed by the stage `then`."""
        call = getattr(owner, name)

        @functools.wraps(call)
        def staged(*args, **kwargs):
            self.enter(stage)
            try:
                return call(*args, **kwargs)
            finally:
                self.enter(then)

        setattr(owner, name, staged)


def watch_the_disk(events: Events) -> None:
    import h5py

    import cache.parts
    import cache.writer

    # The parts are removed within `seal`: from the first moment on that is "after".
    remove = shutil.rmtree
    seal_is_over = types.SimpleNamespace(
        rmtree=lambda *args, **kwargs: (events.enter("after"), remove(*args, **kwargs))
    )
    cache.writer.shutil = seal_is_over
    events.stage(cache.parts.Part, "write", "writing", then="running")
    events.stage(cache.writer.FeatureWriter, "seal", "sealing", then="after")
    for owner, name in (
        *[(os, name) for name in ("fsync", "replace", "unlink", "rmdir")],
        *[(h5py.Group, "create_dataset"), (h5py.Dataset, "__setitem__"), (h5py.File, "close")],
    ):
        events.watch(owner, name)


class StubEngine:
    """Stands for the backbone: features that follow from the pixels alone, at once."""

    name, errors = "a stub", ()

    def __init__(self, body: object, *_: object) -> None:
        self._outputs = body.outputs

    def run(self, batches):
        for batch in batches:
            time.sleep(0.01)  # so that kills by time also fall between parts
            pixels = batch.images.reshape(len(batch.images), -1).astype(np.float32)
            columns = np.arange(max(FAST_CUTS.values())) % pixels.shape[1]
            wide = np.sqrt(pixels[:, columns] + batch.rows[:, None])
            yield batch, [wide[:, : output.shape[1]] for output in self._outputs]


def stub_for_the_backbone() -> contextlib.AbstractContextManager:
    outputs = [types.SimpleNamespace(shape=(None, width)) for width in FAST_CUTS.values()]
    body = types.SimpleNamespace(outputs=outputs)
    return unittest.mock.patch.multiple(
        "pipelines.extracting.extractor",
        import_keras=lambda: None,
        default_batch_size=lambda: 64,
        build_engine=StubEngine,
        build_extractor=lambda *_: (tuple(FAST_CUTS), body),
    )


def fill_the_disk(ballast: Path) -> None:
    size = 2**20
    with ballast.open("wb", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


def limit_files() -> None:
    """No file may grow beyond 1 KiB from now on; writing more fails with EFBIG."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))


def die_at_byte(limit: int) -> None:
    """Any file that grows to so many bytes kills the process there: a file torn in two."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def child(words: Sequence[str]) -> int:
    split = words.index("features")
    switches = argparse.ArgumentParser()
    switches.add_argument("--fast", action="store_true", help="a stub in place of the backbone")
    switches.add_argument("--journal", type=Path, required=True)
    switches.add_argument("--kill-at", help="an event, see Events")
    switches.add_argument("--kill-at-byte", type=int, help="of any file")
    switches.add_argument("--stop-at", help="an event: as by Ctrl-Z, until SIGCONT comes")
    switches.add_argument("--full-at", help="an event: from there on no file can grow")
    switches.add_argument("--ballast", type=Path, help="the file by which the disk is filled")
    switches.add_argument("--no-locks", choices=("no fcntl", "ENOLCK"))
    switches.add_argument("--keep-parts", type=Path, help="copies them here before they are sealed")
    given = switches.parse_args(words[:split])

    actions = {
        given.kill_at: lambda: os.kill(os.getpid(), signal.SIGKILL),
        given.stop_at: lambda: os.kill(os.getpid(), signal.SIGSTOP),
        given.full_at: lambda: fill_the_disk(given.ballast) if given.ballast else limit_files(),
    }
    import cache.writer
    from pipelines.cli import main

    cache.writer.rows_per_part = lambda row_bytes: ROWS_PER_PART
    if given.fast:
        stub_for_the_backbone().__enter__()
    if given.no_locks:
        take_locks_away(given.no_locks)
    if given.keep_parts:
        keep_parts(given.keep_parts)
    watch_the_disk(Events(given.journal, actions))
    if given.kill_at_byte:
        die_at_byte(given.kill_at_byte)
    return main(words[split:])


def take_locks_away(how: str) -> None:
    import errno

    import cache.lock

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl = cache.lock.fcntl
    without = types.SimpleNamespace(flock=flock, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB)
    cache.lock.fcntl = None if how == "no fcntl" else without


def keep_parts(folder: Path) -> None:
    from cache.writer import FeatureWriter

    seal = FeatureWriter.seal

    def copy_and_seal(self, **kwargs):
        shutil.copytree(self.path.parent / "parts", folder)
        return seal(self, **kwargs)

    FeatureWriter.seal = copy_and_seal


# --- the parent --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extraction:
    """One extraction into a folder of its own, started as often as it takes.

    Attributes:
        folder: Artifacts, journals and what was said go here.
        fast: Whether a stub stands for the backbone.
    """

    folder: Path
    fast: bool
    started: list[Path] = field(default_factory=list)

    def start(self, *switches: object, environment=(), **options) -> subprocess.Popen:
        """Starts the command; its standard output and error are `stdout` and `stderr`."""
        journal = self.folder / f"journal-{len(self.started)}"
        self.started.append(journal)
        return subprocess.Popen(
            [
                *[
                    sys.executable,
                    "-m",
                    "tests.extractions",
                    "--journal",
                    journal,
                ],
                *(["--fast"] if self.fast else []),
                *map(str, switches),
                *OPTIONS,
                self.folder / "artifacts",
            ],
            cwd=PROJECT,
            env=os.environ | ENVIRONMENT | dict(environment),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *switches: object, **options) -> subprocess.CompletedProcess:
        process = self.start(*switches, **options)
        stdout, stderr = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def events(self, start: int = -1) -> list[tuple[str, str]]:
        """Stage and name of all events of one start, in order."""
        journal = self.started[start]
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [tuple(line.split(" ", 1)) for line in lines]

    @property
    def stage(self) -> str:
        """Where the last start is, or was when it ended."""
        return self.events()[-1][0] if self.events() else "running"

    @property
    def parts_begun(self) -> int:
        """Parts that any of the starts began to write."""
        starts = [self.events(start) for start in range(len(self.started))]
        return sum(events.count(("writing", "begins")) for events in starts)

    @property
    def sealed(self) -> Path | None:
        return next(self.folder.glob("artifacts/features/*/features.h5"), None)

    @property
    def entry(self) -> Path:
        """The folder of the store's only entry."""
        (entry,) = self.folder.glob("artifacts/features/*")
        return entry


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Reference:
    """What an uninterrupted extraction leaves behind.

    Attributes:
        extraction: It.
        parts: Copies of its parts.
        seconds: How long it took.
        events: Number of events per stage.
    """

    extraction: Extraction
    parts: Path
    seconds: float
    events: Counter

    @property
    def sha256(self) -> str:
        return sha256(self.extraction.sealed)

    def sound_rows(self, other: Extraction, flips: bool = False) -> int:
        """Rows of an unfinished extraction that are on disk; each part must be the reference's.

        Args:
            other: An extraction with the same backbone.
            flips: Whether bits of parts were flipped; those that hold nothing may differ then.

        Raises:
            AssertionError: If anything can be read as complete that differs.
        """
        if other.sealed:
            assert sha256(other.sealed) == self.sha256
        with FeatureFile(self.extraction.sealed) as features:
            key, cuts = features.key, dict.fromkeys(features.cuts)
        rows = 0
        for kept in sorted(self.parts.iterdir()):
            path = self.extraction_path(other) / "parts" / kept.name
            start = int(kept.stem)
            part = Part(path, start, min(start + ROWS_PER_PART, NUM_ROWS))
            if part.is_sound(key, cuts):
                right = Part(kept, part.start, part.stop)
                assert flips or path.read_bytes() == kept.read_bytes()
                assert part.bad() == right.bad()
                for cut in cuts:
                    np.testing.assert_array_equal(part.read(cut)[0], right.read(cut)[0])
                rows += part.stop - part.start
        return rows

    def extraction_path(self, other: Extraction) -> Path:
        """Where the entry of the same key lies in another extraction's store, if it exists."""
        return other.folder / self.extraction.entry.relative_to(self.extraction.folder)


@functools.cache
def reference(fast: bool) -> Reference:
    """Runs once per process; its folder goes when the process ends."""
    _folders.append(tempfile.TemporaryDirectory(prefix="reference-"))
    folder = Path(_folders[-1].name)
    extraction = Extraction(folder, fast)
    started = time.monotonic()
    done = extraction.run("--keep-parts", folder / "parts")
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - started
    events = Counter(stage for stage, _ in extraction.events())
    return Reference(extraction, folder / "parts", seconds, events)


_folders: list[tempfile.TemporaryDirectory] = []


def check_finished(extraction: Extraction) -> None:
    """The file is the reference's to the byte, and nothing is left beside it."""
    assert sha256(extraction.sealed) == reference(extraction.fast).sha256
    assert leftovers(extraction) == set()


def leftovers(extraction: Extraction) -> set[str]:
    """Names of what a finished extraction should have removed."""
    names = {path.name for path in extraction.entry.iterdir()}
    assert names >= {".lock", "about.json", "features.h5"}
    return names - {".lock", "about.json", "features.h5"}


if __name__ == "__main__":
    sys.exit(child(sys.argv[1:]))

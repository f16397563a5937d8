"""`make torture`: kills extractions at 60 instants and fine-tunings at 20, flips bytes at random.

Kills strike at a chosen event (see `tests.extractions`), at a time, or when a file has grown to
some number of bytes, which leaves it torn in two. An extraction is killed up to three times before
it may finish; between kills a byte of one of its parts may flip. However it went, the file must
be that of an extraction which nobody disturbed, to the byte.
"""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np

from cache import CacheError, FeatureFile, verify
from cache.parts import Part
from pipelines.cli import main as command
from pipelines.results import print_table
from tests import tunings
from tests.extractions import (
    NUM_ROWS,
    ROWS_PER_PART,
    STAGES,
    Extraction,
    Reference,
    check_finished,
    reference,
)
from tests.pipelines.small_runs import options

SEED = 20
KILLS = ((False, 24), (True, 36))
"""Whether a stub stands for the backbone, and how often such an extraction is killed."""
FLIPS = 500
TUNING_KILLS = {"run": 10, "chosen": 10}
"""How often a fine-tuning is killed that validation images judge, and one that folds judge."""
TUNING_EVENTS = {"run": 40, "chosen": 200}
"""That either has, about."""


@dataclass(frozen=True)
class Kill:
    """How one start of an extraction ends.

    Attributes:
        kind: `"event"`, `"second"` or `"byte"`.
        at: As `tests.extractions.Events` says; seconds after the start; the size of a file.
        flips: Whether afterwards a byte of one of the parts flips.
    """

    kind: str
    at: str | float | int
    flips: bool = False

    def strike(self, extraction: Extraction) -> subprocess.CompletedProcess:
        """Starts the extraction and kills it, unless it is done before."""
        if self.kind == "event":
            return extraction.run("--kill-at", self.at)
        if self.kind == "byte":
            return extraction.run("--kill-at-byte", self.at)
        process = extraction.start()
        try:
            process.wait(float(self.at))
        except subprocess.TimeoutExpired:
            process.kill()
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def survive(extraction: Extraction, kills: list[Kill], rng: np.random.Generator) -> Counter:
    """Kills an extraction some times, lets it finish, and checks it after every step.

    Returns:
        How many kills struck in which stage, and how many starts went on from rows on disk.
    """
    tally, rows, flips = Counter[str](), 0, False
    for kill in [*kills, None]:
        was_sealed = extraction.sealed is not None
        done = kill.strike(extraction) if kill else extraction.run()
        finished = done.returncode == 0
        assert finished or (kill and done.returncode < 0), done.stderr
        assert done.stderr == ""
        if kill:
            tally["struck too late" if finished else extraction.stage] += 1
        if finished or extraction.stage != "running":
            check_resumed(extraction, done.stdout, rows, was_sealed)
            tally["resumed"] += rows > 0 and not was_sealed
        if kill and kill.flips:
            flip_in_a_part(extraction, rng)
            flips = True
        rows = reference(extraction.fast).sound_rows(extraction, flips)
    check_finished(extraction)
    return tally


def check_resumed(extraction: Extraction, said: str, rows: int, was_sealed: bool) -> None:
    """What was on disk was taken, and what was taken is said; no part was written twice."""
    begun = extraction.events().count(("writing", "begins"))
    if was_sealed:
        assert "cached in" in said
        assert begun == 0
        return
    assert (f"resuming, {rows:,} of {NUM_ROWS:,} rows are there" in said) == (rows > 0)
    missing = -(-(NUM_ROWS - rows) // ROWS_PER_PART)
    assert begun == missing if extraction.stage != "writing" else begun <= missing


def flip_in_a_part(extraction: Extraction, rng: np.random.Generator) -> None:
    """Flips a byte of one part, if there is one."""
    parts = sorted(extraction.folder.glob("artifacts/features/*/parts/*.h5"))
    if parts:
        path = parts[rng.integers(len(parts))]
        data = path.read_bytes()
        path.write_bytes(flipped(data, int(rng.integers(len(data))), rng))


def flipped(data: bytes, position: int, rng: np.random.Generator) -> bytes:
    """The same bytes but for one bit at a position."""
    changed = bytearray(data)
    changed[position] ^= 1 << int(rng.integers(8))
    return bytes(changed)


# --- the plan of kills -------------------------------------------------------------------------


def plan(expected: Reference, count: int, rng: np.random.Generator) -> Iterator[list[Kill]]:
    """Kills of each kind and stage, in groups of one to three that befall one extraction."""
    kills = [*_at_events(expected, count - count // 2, rng), *_at_times(expected, count // 3)]
    kills += _at_bytes(expected, count - len(kills), rng)
    kills = [kills[number] for number in rng.permutation(count)]
    while kills:
        group = 1 + int(rng.integers(3))
        # A kill after the seal leaves nothing for a later one to disturb.
        yield sorted(kills[:group], key=lambda kill: str(kill.at).startswith("after"))
        kills = kills[group:]


def _at_events(expected: Reference, count: int, rng: np.random.Generator) -> Iterator[Kill]:
    for number in range(count):
        stage = ("writing", "sealing", "writing", "sealing", "after", "running")[number % 6]
        event = rng.integers(1, expected.events[stage] + 1)
        yield Kill("event", f"{stage}:{event}", flips=number % 3 == 0)


def _at_times(expected: Reference, count: int) -> Iterator[Kill]:
    for number in range(count):
        yield Kill("second", round(expected.seconds * (number + 0.5) / count, 2))


def _at_bytes(expected: Reference, count: int, rng: np.random.Generator) -> Iterator[Kill]:
    part = max(path.stat().st_size for path in expected.parts.iterdir())
    sealed = expected.extraction.sealed.stat().st_size
    for number in range(count):
        # Larger than the journal of events, which must not be what is torn.
        low, high = (20_000, part) if number % 2 else (part, sealed)
        yield Kill("byte", int(rng.integers(low, high)), flips=number % 3 == 0)


# --- flipped bytes -----------------------------------------------------------------------------


def flip_parts(count: int, rng: np.random.Generator) -> Counter:
    """Flips one bit of a part at a time: it is not sound any more, or reads as it was."""
    with FeatureFile(reference(True).extraction.sealed) as features:
        key, cuts = features.key, dict.fromkeys(features.cuts)
    kept = reference(True).parts / "0000000064.h5"
    data, right = kept.read_bytes(), Part(kept, 64, 128)
    assert right.is_sound(key, cuts)
    values = {cut: right.read(cut) for cut in cuts}
    tally = Counter[str]()
    with TemporaryDirectory(prefix="torture-") as folder:
        part = Part(Path(folder) / kept.name, 64, 128)
        for position in _positions(kept, count, rng):
            part.path.write_bytes(flipped(data, position, rng))
            sound = part.is_sound(key, cuts)
            tally["harmless" if sound else "found"] += 1
            if sound:
                assert part.bad() == {}
                for cut in cuts:
                    np.testing.assert_array_equal(part.read(cut)[0], values[cut][0])
    return tally


def flip_sealed(count: int, rng: np.random.Generator) -> Counter:
    """Flips one bit of a sealed file at a time: verifying finds it, or all reads as it was."""
    sealed = reference(True).extraction.sealed
    data, right = sealed.read_bytes(), contents(sealed)
    tally = Counter[str]()
    with TemporaryDirectory(prefix="torture-") as folder:
        path = Path(folder) / "features.h5"
        for position in _positions(sealed, count, rng):
            path.write_bytes(flipped(data, position, rng))
            try:
                with FeatureFile(path) as features:
                    sound = verify(features).is_sound
                read = contents(path)
            except CacheError:
                tally["found"] += 1
                continue
            # Also without `verify`, whatever is read must be right.
            assert read == right, f"wrong values at byte {position}"
            tally["harmless" if sound else "found by verify alone"] += 1
    return tally


def contents(path: Path) -> list[bytes]:
    """All that a user can read from a sealed file."""
    with FeatureFile(path) as file:
        tables = [file.read(np.arange(len(file)), [cut]) for cut in file.cuts]
        tables += [file.labels, file.image_digests]
        texts = [file.ids, file.given_split, file.class_names, file.skipped, file.cuts]
        return [table.tobytes() for table in tables] + [repr(list(text)).encode() for text in texts]


def _positions(path: Path, count: int, rng: np.random.Generator) -> Iterator[int]:
    """Half anywhere, half outside of features, where a file's structure is."""
    features = np.zeros(path.stat().st_size, bool)

    def mark(name: str, found: object) -> None:
        if isinstance(found, h5py.Dataset) and found.ndim > 1 and found.size > 10_000:
            if not found.chunks:
                start = found.id.get_offset()
                features[start : start + found.id.get_storage_size()] = True
                return
            for number in range(found.id.get_num_chunks()):
                chunk = found.id.get_chunk_info(number)
                features[chunk.byte_offset : chunk.byte_offset + chunk.size] = True

    with h5py.File(path) as file:
        file.visititems(mark)
    structure = np.flatnonzero(~features)
    yield from rng.integers(len(features), size=count // 2).tolist()
    yield from rng.choice(structure, count - count // 2).tolist()


def torture(fast: bool, count: int, rng: np.random.Generator) -> Counter:
    """Kills extractions until `count` kills have struck; some come when all is done already."""
    tally = Counter[str]()
    while tally["kills"] < count:
        for kills in plan(reference(fast), count - tally["kills"], rng):
            with TemporaryDirectory(prefix="torture-") as folder:
                survived = survive(Extraction(Path(folder), fast), kills, rng)
            tally.update(survived, kills=sum(survived[stage] for stage in STAGES), identical=1)
    return tally


def torture_tunings(rng: np.random.Generator) -> Iterator[list[object]]:
    """Kills fine-tunings, one to three times each; all end as one that nobody disturbed."""
    with TemporaryDirectory(prefix="torture-") as folder:
        place = Path(folder)
        tunings.textures(place / "photos")
        trained = ["--hidden", "8", "--epochs", "2"]
        for run, more in (("run", trained), ("chosen", [])):
            assert command(["head", *options(place, "--run", run, *more)]) == 0
            tunings.copied(place, run, f"{run}-head")
            assert not tunings.strike(tunings.words(place, "--run", run, *tunings.PLAIN), 0)
            tally, started = Counter[str](), time.monotonic()
            while tally["kills"] < TUNING_KILLS[run]:
                kills = rng.integers(1, TUNING_EVENTS[run], 1 + rng.integers(3))
                tally += tunings.survive(place, run, kills.tolist())
                tally["identical"] += 1
            columns = ("kills", "struck too late", "identical")
            yield [run, *(tally[column] for column in columns), round(time.monotonic() - started)]


def main() -> None:
    """Tortures, and prints what was survived."""
    rng = np.random.default_rng(SEED)
    columns = ["kills", *STAGES, "struck too late", "resumed", "identical"]
    rows = []
    for fast, count in KILLS:
        started = time.monotonic()
        tally = torture(fast, count, rng)
        seconds = round(time.monotonic() - started)
        backbone = "a stub" if fast else "EfficientNetLite0"
        rows.append([backbone, *(tally[column] for column in columns), seconds])
        print(f"torture: {backbone}: {tally['kills']} kills in {seconds} s", flush=True)
    print_table("kills by stage, and the files that came of it", ["backbone", *columns, "s"], rows)
    print_table(
        "kills of fine-tunings, and the runs that came of them",
        ["head", "kills", "struck too late", "identical", "s"],
        list(torture_tunings(rng)),
    )
    flips = {"of a part": flip_parts(FLIPS, rng), "of a sealed file": flip_sealed(FLIPS, rng)}
    outcomes = ["found", "found by verify alone", "harmless"]
    rows = [[what, *(tally[outcome] for outcome in outcomes)] for what, tally in flips.items()]
    print_table("flipped bits", ["bit", *outcomes], rows)


if __name__ == "__main__":
    main()

"""The cache stage: looks after features and journals; imports Keras only to extract again."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import Positional

from cache import DAMAGED, CacheError, FeatureFile, Verification, unseal, verify
from cache.store import Entry, contained, entries, find_entry, remove
from pipelines.counting import counted
from pipelines.machine.memory import in_words
from pipelines.results import print_table
from pipelines.setup import Setup
from pipelines.sweeping.journal import Journal
from pipelines.sweeping.journals import forget, journals, kept
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.images.sources import DataOptions

TOLERANCE = {"float32": 1e-3, "float16": 5e-3}
"""Largest difference of features extracted again, as a share of the largest one, by storage."""
COARSE_TOLERANCE = 0.05
"""That of features computed in less than float32."""
DAY = 86_400
ACTIONS_OF = {
    "repair": ("verify",),
    "sample": ("verify",),
    "data": ("verify",),
    "older_than": ("prune",),
    "all": ("forget",),
    "dry_run": ("remove", "prune", "forget"),
}
"""Options that only some actions know."""


@dataclass(frozen=True)
class CacheStage:
    """List, show, verify, mend, remove and prune feature files; forget what sweeps wrote down."""

    action: Positional[Literal["list", "show", "verify", "remove", "prune", "forget"]] = "list"
    """list: all entries, and journals of sweeps; show: what entries were made from; verify: compare
    them with their checksums; remove: delete entries; prune: delete those that others hold whole;
    forget: delete what sweeps wrote down to go on from, but for each run's last search."""
    keys: Positional[tuple[str, ...]] = ()
    """Keys, or their first letters; verify takes all entries if none is given. With forget names of
    runs, all if none is given."""
    artifacts: Path = Path("artifacts")
    """Folder for everything that is written."""
    json: bool = False
    """Print JSON in place of tables."""
    repair: bool = False
    """verify: extract damaged rows again, and nothing else."""
    sample: int = 0
    """verify: extract so many random rows again as well, and compare the values."""
    data: str | None = None
    """verify: where the images are now, if they were moved."""
    older_than: float | None = None
    """prune: delete also what was last written so many days ago."""
    all: bool = False
    """forget: delete also what the last search of a run wrote down."""
    dry_run: bool = False
    """remove, prune, forget: say what would be deleted, and delete nothing."""

    @property
    def store(self) -> Path:
        """Folder of the feature files."""
        return Setup(artifacts=self.artifacts).feature_store

    @property
    def journals(self) -> dict[str, Journal]:
        """What sweeps wrote down, by the names of their runs."""
        return journals(Setup(artifacts=self.artifacts).runs)


def run(stage: CacheStage) -> list[dict[str, Any]]:
    """Does what is asked, and prints it.

    Returns:
        One dictionary per entry, or per journal, as `--json` prints them.

    Raises:
        CacheError: If a key is unknown or ambiguous, or an entry is damaged and not mended.
        InputError: If an action lacks its keys, or images needed to extract again are gone.
    """
    actions: dict[str, Callable[[CacheStage], list[dict[str, Any]]]] = {
        "list": _list,
        "show": _show,
        "verify": _verify,
        "remove": _remove,
        "prune": _prune,
        "forget": _forget,
    }
    _check(stage)
    return actions[stage.action](stage)


def _check(stage: CacheStage) -> None:
    """Refuses what an action would ignore, or cannot do without."""
    if stage.action in ("show", "remove") and not stage.keys:
        raise InputError(
            f"transfer cache {stage.action} expects keys, received none; see transfer cache list"
        )
    if stage.action in ("list", "prune") and stage.keys:
        raise InputError(f"transfer cache {stage.action} takes no keys, received {stage.keys[0]!r}")
    for option, actions in ACTIONS_OF.items():
        if getattr(stage, option) != getattr(CacheStage, option) and stage.action not in actions:
            raise InputError(
                f"--{option.replace('_', '-')} belongs to {' and '.join(actions)}, "
                f"received with {stage.action}"
            )
    for option in ("sample", "older_than"):
        if (getattr(stage, option) or 0) < 0:
            raise InputError(
                f"--{option.replace('_', '-')} expects at least 0, received "
                f"{getattr(stage, option)}"
            )


def _list(stage: CacheStage) -> list[dict[str, Any]]:
    found = entries(stage.store)
    described = [_described(entry) for entry in found]
    written_down = [_written_down(run, journal) for run, journal in stage.journals.items()]
    if stage.json:
        print(json.dumps(described + written_down, indent=1))
        return described + written_down
    rows = [
        [
            entry.name,
            entry.state,
            one["data"],
            one["backbone"],
            f"{entry.num_rows:,}",
            one["values_per_row"],
            in_words(entry.num_bytes),
            _age(entry),
        ]
        for entry, one in zip(found, described, strict=True)
    ]
    columns = ["key", "state", "data", "backbone", "images", "features", "size", "age"]
    if rows:
        print_table(f"features in {stage.store}", columns, rows)
    total = in_words(sum(entry.num_bytes for entry in found))
    print(f"cache: {len(found)} entries, {total}")
    if written_down:
        _print_journals(written_down, Setup(artifacts=stage.artifacts).runs)
    return described + written_down


def _written_down(run: str, journal: Journal) -> dict[str, Any]:
    """What a run's sweeps wrote down, and how much of it belongs to others than the last search."""
    every, others = kept(run, journal.files()), kept(run, journal.files_of_others())
    return {
        "run": run,
        "files": every.files,
        "bytes": every.num_bytes,
        "files_of_other_searches": others.files,
        "bytes_of_other_searches": others.num_bytes,
    }


def _print_journals(written_down: list[dict[str, Any]], runs: Path) -> None:
    columns = ["run", "files", "size", "of other searches", "size "]
    rows = [
        [
            one["run"],
            one["files"],
            in_words(one["bytes"]),
            one["files_of_other_searches"],
            in_words(one["bytes_of_other_searches"]),
        ]
        for one in written_down
    ]
    print_table(f"journals of sweeps in {runs}", columns, rows)
    total, others = (
        in_words(sum(one[name] for one in written_down))
        for name in ("bytes", "bytes_of_other_searches")
    )
    print(f"cache: {len(rows)} journals, {total}, of which {others} are of other searches")


def _show(stage: CacheStage) -> list[dict[str, Any]]:
    found = _chosen(stage)
    described = [
        _described(entry)
        | {
            "spec": asdict(entry.spec) if entry.spec else None,
            "cuts": {cut: list(shape) for cut, shape in entry.cuts.items()},
            "about": entry.about,
        }
        for entry in found
    ]
    if stage.json:
        print(json.dumps(described, indent=1))
        return described
    for one in described:
        about, spec = one["about"], one["spec"] or {}
        rows = [[name, value] for name, value in one.items() if not isinstance(value, dict)]
        rows += [
            ["digest of the data" if name == "data" else name, value]
            for name, value in spec.items()
            if name not in ("cuts", "backbone")
        ]
        rows += [[f"cut {cut}", " x ".join(map(str, shape))] for cut, shape in one["cuts"].items()]
        rows += [
            [name, value]
            for name, value in about.items()
            if not isinstance(value, dict) and name not in spec
        ]
        print_table(
            one["key"], ["field", "value"], [row for row in rows if row[1] not in ("", None)]
        )
    return described


def _chosen(stage: CacheStage) -> list[Entry]:
    """The entries that the keys name, each once."""
    found = [find_entry(stage.store, key) for key in stage.keys]
    return list({entry.name: entry for entry in found}.values())


def _described(entry: Entry) -> dict[str, Any]:
    about = entry.about
    return {
        "key": entry.spec.key if entry.spec else entry.name,
        "path": str(entry.path),
        "state": entry.state,
        "problem": entry.problem,
        "data": about.get("data", {}).get("data", ""),
        "backbone": about.get("backbone", {}).get("backbone", ""),
        "images": entry.num_rows,
        "values_per_row": sum(int(np.prod(shape)) for shape in entry.cuts.values()),
        "bytes": entry.num_bytes,
        "modified": datetime.fromtimestamp(entry.modified, UTC).isoformat(timespec="seconds"),
    }


def _age(entry: Entry) -> str:
    days = (time.time() - entry.modified) / DAY
    if days >= 1:
        return f"{days:.0f} d"
    return f"{days * 24:.0f} h" if days * 24 >= 1 else f"{days * 24 * 60:.0f} min"


def _verify(stage: CacheStage) -> list[dict[str, Any]]:
    found = _chosen(stage) or [
        entry
        for entry in entries(stage.store)
        if entry.state != "unfinished" or (entry.folder / DAMAGED).exists()
    ]
    if stage.data and len(found) > 1:
        raise InputError("--data expects one key, for it says where the images of one entry are")
    results = []
    for entry in found:
        try:
            results.append(_verify_one(stage, entry))
        except (InputError, CacheError) as error:  # the other entries want to be looked at as well
            if len(found) == 1:
                raise
            results.append({"key": entry.name, "sound": False, "problems": [str(error)]})
            if not stage.json:
                print(f"cache: {error}")
    if stage.json:
        print(json.dumps(results, indent=1))
    damaged = [result["key"][:16] for result in results if not result["sound"]]
    if damaged:
        advice = "" if stage.repair else "; mend them with `transfer cache verify --repair`"
        raise CacheError(
            f"{len(damaged)} of {len(results)} entries are not sound: {', '.join(damaged)}{advice}"
        )
    return results


def _verify_one(stage: CacheStage, entry: Entry) -> dict[str, Any]:
    def say(text: str) -> None:
        if not stage.json:
            print(f"cache: {entry.name}: {text}")

    started = time.monotonic()
    problems = _problems(entry)
    seconds = time.monotonic() - started
    speed = f"{in_words(entry.num_bytes)} in {seconds:.1f} s"
    for problem in problems or [f"{entry.num_rows:,} rows as they were written ({speed})"]:
        say(problem)
    result = {"key": entry.name, "sound": not problems, "problems": problems, "repaired": False}
    if problems and stage.repair:
        # With --json, nothing but JSON may come out.
        with contextlib.redirect_stdout(None) if stage.json else contextlib.nullcontext():
            _repair(stage, entry)
        problems = _problems(find_entry(stage.store, entry.name))
        result |= {"sound": not problems, "repaired": not problems}
        say("mended" if not problems else "; ".join(problems))
    if stage.sample and entry.num_rows and not problems:
        difference = _sample(stage, find_entry(stage.store, entry.name))
        result |= {"difference": difference}
        count = min(stage.sample, entry.num_rows)
        say(f"{count} rows extracted again differ by {difference:.1e} of the largest value")
    return result


def _problems(entry: Entry) -> list[str]:
    """What is wrong with an entry, in words; empty if nothing is."""
    if entry.state != "sealed":
        return [entry.problem or "never finished; the command that began it goes on"]
    with FeatureFile(entry.path) as features:
        found: Verification = verify(features)
        ids = features.ids if not found.damaged_tables else None
    return [
        *found.damaged_tables,
        *(f"{cut}: {_rows_in_words(rows, ids)} damaged" for cut, rows in found.damaged.items()),
    ]


def _rows_in_words(rows: np.ndarray, ids: np.ndarray | None) -> str:
    """`3 rows (5-6, 9: cats/5.jpg and others)`."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    spans = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    named = "" if ids is None else f": {ids[rows[0]]}{' and others' if len(rows) > 1 else ''}"
    listed = ", ".join(spans[:20]) + (", ..." if len(spans) > 20 else "")
    return f"{len(rows)} row{'s' if len(rows) > 1 else ''} ({listed}{named})"


def _repair(stage: CacheStage, entry: Entry) -> None:
    """Makes the file again; its sound rows are taken over, the others extracted."""
    from pipelines.extracting.extraction import make_features

    setup = _setup_of(stage, entry)
    unseal(entry.path)  # of parts that it refers to, the sound ones stay
    if entry.path.exists():
        entry.path.replace(entry.folder / DAMAGED)
    make_features(setup, setup.spec())


def _sample(stage: CacheStage, entry: Entry) -> float:
    """Extracts random rows again, through Keras but for int8.

    Returns:
        The largest difference, relative to the largest stored value.

    Raises:
        CacheError: If it is above what is allowed; names the image.
    """
    from pipelines.extracting.extraction import extract_rows

    setup = _setup_of(stage, entry)
    images = setup.images()
    with FeatureFile(entry.path) as features:
        count = min(stage.sample, len(features))
        rows = np.sort(np.random.default_rng().choice(len(features), count, replace=False))
        exact = features.spec.precision == "float32"
        allowed = TOLERANCE[features.spec.dtype] if exact else COARSE_TOLERANCE
        positions = {id: position for position, id in enumerate(images.ids)}
        again = extract_rows(
            replace(setup, engine="keras" if setup.arithmetic != "int8" else "auto"),
            images,
            np.array([positions[features.ids[row]] for row in rows]),
        )
        worst = 0.0
        for cut in features.cuts:
            stored = features.read(rows, [cut]).astype(np.float32).reshape(count, -1)
            difference = np.abs(stored - again[cut].reshape(count, -1)).max(1)
            relative = difference / max(1e-12, float(np.abs(stored).max()))
            worst = float(np.maximum(worst, relative.max()))
            if not worst <= allowed:  # also where it is not a number
                image = features.ids[rows[int(relative.argmax())]]
                raise CacheError(
                    f"{entry.name}: {cut!r} of {image!r} differs by {worst:.1e} of the largest "
                    f"value, expected at most {allowed:.0e}; remove the entry and extract it again"
                )
    return worst


def _setup_of(stage: CacheStage, entry: Entry) -> Setup:
    """The options that made an entry, as the file beside it says.

    Raises:
        InputError: If they are not known, or would make other features now.
    """
    if not entry.about:
        raise InputError(
            f"{entry.name}: nothing says what it was made from (no {entry.folder / 'about.json'}); "
            "run `transfer features` with the same options, after `transfer cache remove`"
        )
    try:
        data = _options(DataOptions, entry.about["data"])
        setup = Setup(
            data=replace(data, data=stage.data) if stage.data else data,
            backbone=_options(BackboneOptions, entry.about["backbone"]),
            artifacts=stage.artifacts,
            precision=entry.about.get("precision", "float32"),
            storage=entry.about["storage"],
            compression=entry.about["compression"],
            seal=entry.about.get("seal", "auto"),
        )
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{entry.name}: made by another version of this program; remove it with "
            "`transfer cache remove` and run `transfer features` again"
        ) from None
    spec = setup.spec()
    if spec.key[:16] != entry.name:
        difference = spec.differences_in_words(entry.spec) if entry.spec else entry.problem
        raise InputError(
            f"{entry.name}: {setup.data.data} makes other features now ({difference}); "
            "say with --data where the images are"
        )
    return setup


def _options(kind: Any, values: dict[str, Any]) -> Any:
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return kind(**(values | lists))


def _remove(stage: CacheStage) -> list[dict[str, Any]]:
    return _delete(stage, [(entry, "") for entry in _chosen(stage)])


def _prune(stage: CacheStage) -> list[dict[str, Any]]:
    limit = -math.inf if stage.older_than is None else time.time() - stage.older_than * DAY
    old = [entry for entry in entries(stage.store) if entry.modified < limit]
    doomed = [(entry, f"{_age(entry)} old") for entry in old]
    held = contained(stage.store, without={entry.name for entry in old})
    doomed += [(entry, f"held whole by {other.name}") for entry, other in held]
    return _delete(stage, doomed)


def _delete(stage: CacheStage, doomed: list[tuple[Entry, str]]) -> list[dict[str, Any]]:
    described = []
    for entry, why in doomed:
        described.append(_described(entry) | {"why": why, "removed": not stage.dry_run})
        if not stage.dry_run:
            remove(entry)
        if not stage.json:
            said = "would remove" if stage.dry_run else "removed"
            reason = f", {why}" if why else ""
            print(f"cache: {said} {entry.name}, {in_words(entry.num_bytes)}{reason}")
    if stage.json:
        print(json.dumps(described, indent=1))
    elif not doomed:
        print("cache: nothing to remove")
    return described


def _forget(stage: CacheStage) -> list[dict[str, Any]]:
    there = stage.journals
    if unknown := [run for run in stage.keys if run not in there]:
        raise InputError(
            f"transfer cache forget expects runs with journals of sweeps, received {unknown[0]!r}; "
            f"there are {', '.join(there) or 'none'}"
        )
    forgotten = []
    for run in dict.fromkeys(stage.keys or there):
        gone = forget(run, there[run], stage.all, stage.dry_run)
        if gone.files:
            forgotten.append(asdict(gone) | {"removed": not stage.dry_run})
            if not stage.json:
                said = "would remove" if stage.dry_run else "removed"
                print(
                    f"cache: {said} {counted(gone.files, 'file')} of the journal of {run}, "
                    f"{in_words(gone.num_bytes)}"
                )
    if stage.json:
        print(json.dumps(forgotten, indent=1))
    elif not forgotten:
        print("cache: nothing to remove")
    return forgotten

"""The sweep stage: a grid of heads on the same cached features."""

import time
import typing
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from pipelines import features as features_stage
from pipelines import head as head_stage
from pipelines.head import HeadStage, TrainingData
from pipelines.results import print_table, write_json
from pipelines.scoring import rank
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.fitting import FitOptions, Fitted
from transfer.heads import HeadOptions

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class SweepStage:
    """Train a head for every point of a grid and keep the best by validation accuracy."""

    setup: Setup = field(default_factory=Setup)
    head: HeadOptions = field(default_factory=HeadOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    use_cuts: tuple[str, ...] = ()
    """Cuts that the heads see, of those in the feature file; by default all, joined."""
    grid: tuple[str, ...] = (
        "hidden=0,256",
        "dropout=0,0.3",
        "learning_rate=0.0003,0.001,0.003",
    )
    """Values to try, as name=value,value; hidden layers are joined by +, 0 is none."""


def run(stage: SweepStage) -> dict:
    """Trains all heads, prints the leaderboard, and saves the best as the run's head.

    Returns:
        What is also written to `sweep.json`: one entry a head, best first.

    Raises:
        InputError: If the grid names an unknown option or a value of the wrong kind.
    """
    from sklearn.model_selection import ParameterGrid

    points = list(ParameterGrid(parse_grid(stage.grid)))
    best: _Trained | None = None
    entries = []
    with features_stage.open_features(stage.setup) as features:
        data = head_stage.read_training_data(stage.setup, features, stage.use_cuts)
        for number, point in enumerate(points, start=1):
            trained = _train(stage, data, point, f"head {number} of {len(points)}")
            entries.append(trained.entry)
            # Only the best so far is kept: hundreds of wide heads would fill the memory.
            if best is None or rank(trained.entry) < rank(best.entry):
                best = trained
        entries.sort(key=rank)
        _print_leaderboard(entries, list(points[0]))
        assert best is not None
        scores = head_stage.val_scores(best.model, data.val, features.class_names)
        head_stage.save(best.stage, features, best.model, best.fitted, scores, best.seconds)
    result = {"tried": len(entries), "heads": entries}
    write_json(stage.setup.run_folder / "sweep.json", result)
    return result


@dataclass(frozen=True)
class _Trained:
    stage: HeadStage
    model: "keras.Model"
    fitted: Fitted
    seconds: float
    entry: dict


def _train(stage: SweepStage, data: TrainingData, point: dict, description: str) -> _Trained:
    head, fit = apply_point(stage.head, stage.fit, point)
    started = time.monotonic()
    model, fitted = head_stage.train(data, head, fit, description)
    seconds = time.monotonic() - started
    scores = {name: fitted.best[name] for name in ("val_accuracy", "val_loss")}
    entry = {**point, **scores, "seconds": round(seconds, 2)}
    return _Trained(
        HeadStage(stage.setup, head, fit, stage.use_cuts), model, fitted, seconds, entry
    )


def _print_leaderboard(entries: list[dict], names: list[str]) -> None:
    columns = [*names, "val accuracy", "val loss", "seconds"]
    rows = [
        [
            *(_in_words(entry[name]) for name in names),
            f"{entry['val_accuracy']:.4f}",
            f"{entry['val_loss']:.4f}",
            f"{entry['seconds']:.1f}",
        ]
        for entry in entries[:20]
    ]
    median = sorted(entry["val_accuracy"] for entry in entries)[len(entries) // 2]
    ahead = entries[0]["val_accuracy"] - median
    print_table(f"{len(entries)} heads tried, the best {len(rows)} by validation", columns, rows)
    print(f"sweep: the best is {ahead:.4f} ahead of the median head in validation accuracy")


def _in_words(value: object) -> str:
    return "+".join(map(str, value)) or "linear" if isinstance(value, tuple) else str(value)


def apply_point(head: HeadOptions, fit: FitOptions, point: dict) -> tuple[HeadOptions, FitOptions]:
    """Sets the options that a grid point names."""
    of_head = {name for name in point if name in _types(HeadOptions)}
    return (
        replace(head, **{name: point[name] for name in of_head}),
        replace(fit, **{name: point[name] for name in point if name not in of_head}),
    )


def parse_grid(grid: tuple[str, ...]) -> dict[str, list]:
    """Reads `("hidden=0,256+128", "dropout=0,0.3")` into values of the options' own types.

    Raises:
        InputError: If a name is no option of a head or of fitting, or a value does not fit.
    """
    known = _types(HeadOptions) | _types(FitOptions)
    values: dict[str, list] = {}
    for entry in grid:
        name, _, listed = entry.partition("=")
        name = name.strip().replace("-", "_")
        if name not in known or not listed:
            raise InputError(
                f"--grid expects name=value,value with a name among {', '.join(sorted(known))}; "
                f"received {entry!r}"
            )
        try:
            values[name] = [_parse(text.strip(), known[name]) for text in listed.split(",")]
        except ValueError:
            raise InputError(
                f"--grid expects values that --{name.replace('_', '-')} takes, received {entry!r}"
            ) from None
    return values


def _types(options: type) -> dict[str, typing.Any]:
    hints = typing.get_type_hints(options)
    return {field.name: hints[field.name] for field in fields(options)}


def _parse(text: str, kind: typing.Any) -> object:
    if typing.get_origin(kind) is tuple:
        return tuple(int(width) for width in text.split("+") if int(width))
    if type(None) in typing.get_args(kind):  # such as float | None: None is for the default
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    if kind is bool:
        return _choose(text, {"true": True, "false": False})
    if typing.get_origin(kind) is typing.Literal:
        return _choose(text, {choice: choice for choice in typing.get_args(kind)})
    return kind(text)


def _choose(text: str, choices: dict[str, object]) -> object:
    if text not in choices:
        raise ValueError(f"expected one of {list(choices)}, received {text!r}")
    return choices[text]

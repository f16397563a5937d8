"""The tables of a comparison, and what they come to in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.comparing.evaluated import Evaluated
from pipelines.comparing.matching import Matched
from pipelines.counting import counted
from pipelines.model_names import HEAD, TUNED
from pipelines.results import print_table
from transfer.backbones.options import BackboneOptions
from transfer.calibration import wilson_interval
from transfer.comparing import Comparison, holm
from transfer.metrics import cross_entropies, standard_error
from transfer.names import shown

SURE = 0.05
"""How likely a difference by chance may be that is called sure."""


COLUMNS = ("model", "backbone", "pixels", "trained", "accuracy (95 %)", "log loss", "seconds")
"""Of the table of models."""


def model_rows(matched: Matched) -> list[list[object]]:
    """What each model is and how good, in the order in which runs were named."""
    return [
        [
            name,
            *_made(run, model),
            *_scores(matched.probabilities[name], matched.labels),
            _seconds(run, model),
        ]
        for name, (run, model) in matched.of_run.items()
    ]


def print_models(matched: Matched, split: str) -> None:
    """Prints `model_rows`."""
    common = " that all runs were evaluated on" if len(matched.left_out) > 1 else ""
    print_table(
        f"{counted(len(matched.ids), 'image')} of the {split} split{common}",
        COLUMNS,
        model_rows(matched),
    )


def print_pairs(pairs: Mapping[tuple[str, str], Comparison]) -> None:
    """Prints for each pair which images only one has right, and what may be concluded.

    Args:
        pairs: By the names of the two models.
    """
    accuracy_p = holm([pair.accuracy_p for pair in pairs.values()])
    columns = ["1.", "2.", "both", "only 1.", "only 2.", "neither"]
    columns += ["accuracy (95 %)", "p", "log loss"]
    rows = [
        [
            *names,
            *[pair.both_right, pair.first_right, pair.second_right, pair.both_wrong],
            "{:+.3f} ({:+.3f} to {:+.3f})".format(
                pair.accuracy_difference, *pair.accuracy_interval
            ),
            f"{p:.2g}",
            f"{pair.loss_difference:+.4f} +- {pair.loss_error:.4f}",
        ]
        for (names, pair), p in zip(pairs.items(), accuracy_p, strict=True)
    ]
    print_table("which images each has right; 1. less 2.; p of McNemar's test", columns, rows)
    for line in words_of(pairs):
        print(shown(f"compare: {line}"))
    if len(pairs) > 1:
        print(f"compare: p is corrected by Holm's method for {len(pairs)} pairs")


def words_of(pairs: Mapping[tuple[str, str], Comparison]) -> list[str]:
    """What may be concluded of each pair, a line each.

    Args:
        pairs: By the names of the two models.
    """
    accuracy_p = holm([pair.accuracy_p for pair in pairs.values()])
    loss_p = holm([pair.loss_p for pair in pairs.values()])
    return [
        in_words(*names, pair, *p)
        for (names, pair), *p in zip(pairs.items(), accuracy_p, loss_p, strict=True)
    ]


def in_words(first: str, second: str, pair: Comparison, accuracy_p: float, loss_p: float) -> str:
    """What a comparison shows, and no more than that.

    Args:
        first: Name of the first model.
        second: Name of the second.
        pair: The two.
        accuracy_p: Of their accuracies, corrected for the number of pairs.
        loss_p: Of their log losses, likewise.
    """
    by_accuracy = pair.accuracy_difference if accuracy_p < SURE else 0
    by_loss = -pair.loss_difference if loss_p < SURE else 0
    no_difference = f"no difference that {pair.num_images:,} images could show"
    if not by_accuracy and not by_loss:
        return f"between {first} and {second} there is {no_difference}"
    better, worse = (first, second) if (by_accuracy or by_loss) > 0 else (second, first)
    surely = f"{better} is surely better than {worse} in"
    if not by_accuracy:
        return f"{surely} log loss; in accuracy there is {no_difference}"
    if not by_loss:
        return f"{surely} accuracy; in log loss there is {no_difference}"
    if by_accuracy * by_loss > 0:
        return f"{surely} accuracy and in log loss"
    return f"{surely} accuracy, and surely worse in log loss"


def _made(run: Evaluated, model: str) -> list[object]:
    """Backbone, side of the images and what was trained; nothing is known of further models."""
    if model not in (HEAD, TUNED):
        return ["", "", ""]
    options = _backbone(run.head["backbone"])
    width = f" {options.alpha:g}" if options.alpha != 1 else ""
    weights = ", random" if options.weights == "none" else ""
    trained = _tuned(run.tuned) if model == TUNED and run.tuned else _head(run.head)
    return [f"{options.backbone}{width}{weights}", options.image_size, trained]


def _backbone(said: Mapping[str, Any]) -> BackboneOptions:
    lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return BackboneOptions(**{**said, **lists}).effective()


def _head(said: Mapping[str, Any]) -> str:
    if chosen := said.get("chosen"):
        sees = chosen["sees"].partition(" (")[0]  # without the parts of an average
        return sees if chosen["transform"] == "none" else f"{sees}, {chosen['transform']}"
    hidden, cuts = said["head"]["hidden"], said["cuts"]
    kind = f"hidden {' '.join(map(str, hidden))}" if hidden else "linear"
    return f"{kind} on {cuts[0] if len(cuts) == 1 else f'{len(cuts)} cuts'}"


def _tuned(said: Mapping[str, Any]) -> str:
    return f"{said['trained']}, {said['share']:.0%} of the way"


def _scores(said: np.ndarray, labels: np.ndarray) -> list[object]:
    accuracy = (said.argmax(axis=1) == labels).mean()
    low, high = wilson_interval(accuracy, np.array(len(labels)))
    losses = cross_entropies(said.astype(float), labels)
    return [
        f"{accuracy:.4f} ({low:.3f} to {high:.3f})",
        f"{losses.mean():.4f} +- {standard_error(losses):.4f}",
    ]


def _seconds(run: Evaluated, model: str) -> str:
    said = {HEAD: run.head, TUNED: run.tuned}.get(model)
    return f"{said['seconds']:.1f}" if said else ""

"""The tables of an evaluation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.results import print_table

if TYPE_CHECKING:
    from transfer.metrics import Evaluation


def print_tables(
    evaluations: "Mapping[str, Evaluation]", temperatures: Mapping[str, float]
) -> None:
    """Prints scores side by side, and those of each class.

    Args:
        evaluations: By the model's name.
        temperatures: By which models divide their logits, likewise.
    """
    rows = [
        [
            name,
            scores.num_images,
            f"{scores.accuracy:.4f}",
            f"{scores.balanced_accuracy:.4f}",
            "" if scores.top5 is None else f"{scores.top5:.4f}",
            f"{scores.loss:.4f}",
            _error_in_words(scores, temperatures[name]),
        ]
        for name, scores in evaluations.items()
    ]
    split = next(iter(evaluations.values())).split
    columns = ["model", "images", "accuracy", "balanced", "top 5", "loss", "calibration error"]
    print_table(f"On the {split} split", columns, rows)
    for name, scores in evaluations.items():
        print_table(
            f"{name}, class by class",
            ["class", "precision", "recall", "f1", "images"],
            [
                [c.class_name, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", c.support]
                for c in scores.per_class
            ],
        )


def _error_in_words(scores: "Evaluation", temperature: float) -> str:
    """Of the model as it is, and as it would be without its temperature."""
    error, before = f"{scores.calibration_error:.4f}", f"{scores.uncalibrated_error:.4f}"
    return error if temperature == 1 or error == before else f"{before} -> {error}"

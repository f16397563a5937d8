"""Exported files of a run, where one of them stands for the classifier that it was made of."""

from importlib.util import find_spec
from pathlib import Path

from transfer.errors import InputError
from transfer.exporting.about import About, read_about
from transfer.exporting.agreement import LARGEST_DIFFERENCE
from transfer.exporting.formats import format_of
from transfer.images.digests import file_digest

EXPORTED = "exported"
"""Folder of a run where its exported models lie."""
WORTH_STARTING_KERAS = 5_000
"""Images from which Keras, and the engine made of its model, make up for the time they take to
start."""
_QUICK = (".xml", ".onnx")
"""Suffixes of what starts within a second and runs at speed, best first."""


def stand_in(classifier: Path) -> Path | None:
    """An exported file beside a run's classifier that gives its answers, without Keras.

    It was made of exactly this file, at full precision, and agreed with it when it was made.

    Args:
        classifier: `classifier.keras` or `finetuned.keras` of a run.
    """
    found = [
        path
        for suffix in _QUICK
        for path in sorted((classifier.parent / EXPORTED).glob(f"*{suffix}"))
        if find_spec(format_of(path).module.partition(".")[0])
    ]
    if not found:
        return None
    digest = file_digest(classifier)
    return next((path for path in found if _is_exact(_about(path), digest)), None)


def _about(path: Path) -> About | None:
    try:
        return read_about(path)
    except InputError:  # its JSON is missing or of another version: nothing says what it is of
        return None


def _is_exact(about: About | None, digest: str) -> bool:
    return (
        about is not None
        and about.source_sha256 == digest
        and about.precision == "float32"
        and about.agreement is not None
        and about.agreement.largest_difference <= LARGEST_DIFFERENCE
    )

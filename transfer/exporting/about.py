"""What is known of an exported model: one JSON file beside it, read without any runtime."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from transfer.classifier import ClassifierCard, card_from
from transfer.errors import InputError

VERSION = 1
"""Of the JSON; raised where a program that knows the one before could not read it."""


@dataclass(frozen=True)
class Agreement:
    """How an exported model differs from the classifier that it was made of.

    Attributes:
        images: How many both were shown, each in its own size.
        largest_difference: Of a probability.
        equal_top1: Share of images to which both give the same class, 0-1.
        split: "val" or "train": whose images the accuracies are of.
        judged: How many those are.
        accuracy_before: Of the classifier on them, 0-1.
        accuracy_after: Of the exported model on them, 0-1.
        standard_error: Of `accuracy_before`, and no less than one image makes.
    """

    images: int
    largest_difference: float
    equal_top1: float
    split: str
    judged: int
    accuracy_before: float
    accuracy_after: float
    standard_error: float


@dataclass(frozen=True)
class About:
    """What `<model>.json` says.

    Attributes:
        card: Class names, image size and what else the classifier says of itself.
        format: A key of `formats.FORMATS`.
        precision: "float32", "float16" or "int8".
        source_sha256: Of the `.keras` file it was made of, in hexadecimal.
        agreement: With that classifier; None where nobody has measured it.
    """

    card: ClassifierCard
    format: str
    precision: str
    source_sha256: str
    agreement: Agreement | None = None


def about_path(model: Path) -> Path:
    """Where the JSON of a model lies: `classifier.onnx.json` beside `classifier.onnx`."""
    return model.with_name(f"{model.name}.json")


def write_about(about: About, path: Path) -> None:
    """Writes the JSON of a model; `path` is the JSON's own."""
    values = asdict(about)
    text = json.dumps({"version": VERSION, "classifier": values.pop("card"), **values}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read_about(model: Path) -> About:
    """Reads what is known of an exported model.

    Raises:
        InputError: If the JSON is missing, no such JSON, or of a newer version.
    """
    path = about_path(model)
    if not path.is_file():
        raise InputError(
            f"expected {path.name} beside {model}, found none; copy it along, or export again"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, Mapping) or not isinstance(values.get("version"), int):
            raise ValueError("no version")
        if values["version"] == VERSION:
            return _about(values, path)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is not what `transfer export` writes ({type(error).__name__}: {error}); "
            "export the classifier again"
        ) from None
    raise InputError(
        f"{path} is expected to be of version {VERSION}, received {values['version']!r}; "
        "export the classifier again, or use the version of this program that wrote it"
    )


def _about(values: Mapping[str, Any], path: Path) -> About:
    agreement = values.get("agreement")
    own = {one.name: str(values[one.name]) for one in fields(About) if one.type is str}
    return About(
        card=card_from(values["classifier"], path),
        agreement=None if agreement is None else Agreement(**agreement),
        **own,
    )

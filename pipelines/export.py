"""The export stage: a saved classifier for other runtimes, compared with itself in each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from pipelines.exports import EXPORTED
from pipelines.features import open_features
from pipelines.finetune import check_trained_on, load_rows_of
from pipelines.knowing import BESIDE, knowledge_bytes
from pipelines.models import default_model, read_head
from pipelines.results import print_table
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.exporting.formats import FORMATS, FormatName, Precision, check_packages
from transfer.extraction import engines

if TYPE_CHECKING:
    from transfer.exporting.about import Agreement
    from transfer.images.imageset import ImageSet


@dataclass(frozen=True)
class RunSetup(Setup):
    """Images, backbone, and the run; `--precision` is that of what is exported."""

    precision: Annotated[engines.Precision, arg(name="features-precision")] = "float32"
    """Arithmetic of the frozen backbone, as the other stages take it by --precision."""


@dataclass(frozen=True)
class ExportStage:
    """Write a classifier for other runtimes; each file is compared with the classifier first."""

    setup: RunSetup = field(default_factory=RunSetup)
    to: tuple[FormatName, ...] = ("onnx",)
    """Formats: keras (a .keras file without what only this program reads), savedmodel (TensorFlow
    Serving), litert (phones, small boards), onnx (any language), openvino (CPUs)."""
    exported_precision: Annotated[Precision, arg(name="precision")] = "float32"
    """float16 halves a file; int8 makes it about a third, computes in bytes, and is calibrated on
    training images. keras and savedmodel have float32 alone."""
    model: Path | None = None
    """A saved classifier of the run's classes; by default the run's fine-tuned one where that is
    better on validation, else the one with the frozen backbone."""
    output_folder: Path | None = None
    """Where the files go; by default the folder exported in the run's."""
    allow_worse: bool = False
    """Keep a file that is too far from the classifier: by more than 0.001 in a probability with
    float32, by more than a standard error in accuracy with less."""


def run(stage: ExportStage) -> "dict[str, Agreement]":
    """Exports, compares, and prints a table.

    Returns:
        By format how near each file is to the classifier, of those that were kept.

    Raises:
        InputError: If a format cannot be had, there is no classifier, or a file is too far from
            it; of that format no file is left, and those of the others are.
    """
    if not stage.to:
        raise InputError(f"--to expects at least one of {', '.join(FORMATS)}, received none")
    for name in stage.to:
        check_packages(FORMATS[name], stage.exported_precision)
    source = stage.model or default_model(stage.setup.run_folder, "export")
    folder = stage.output_folder or stage.setup.run_folder / EXPORTED
    images = _images_of_run(stage.setup)
    from transfer.exporting.exporter import exporter

    kept: dict[str, Agreement] = {}
    refused: list[str] = []
    precision = stage.exported_precision
    knowledge = knowledge_bytes(source)
    beside = {} if knowledge is None else {BESIDE: knowledge}
    with exporter(source, images, beside) as exporting:
        for name in dict.fromkeys(stage.to):
            print(f"export: {name} {precision} of {source}", flush=True)
            try:
                kept[name] = exporting.export(name, precision, folder, stage.allow_worse)
            except InputError as error:
                refused.append(str(error))
    if kept:
        _print(kept, folder)
    if refused:
        raise InputError("; ".join(refused))
    return kept


def _images_of_run(setup: Setup) -> "ImageSet":
    """The run's images, with the splits that its head was trained with."""
    with open_features(setup) as features:
        check_trained_on(features, read_head(setup.run_folder), setup)
        return load_rows_of(features, setup)


def _print(kept: "Mapping[str, Agreement]", folder: Path) -> None:
    one = next(iter(kept.values()))
    judged = f"accuracy is of {one.judged} {one.split} images"
    print_table(
        f"Compared with the classifier, on {one.images} images it may have learned from; {judged}",
        ["format", "largest difference", "equal top 1", "accuracy", "before"],
        [
            [
                name,
                f"{found.largest_difference:.1e}",
                f"{found.equal_top1:.4f}",
                f"{found.accuracy_after:.4f}",
                f"{found.accuracy_before:.4f}",
            ]
            for name, found in kept.items()
        ],
    )
    print(f"export: {len(kept)} models in {folder}, with programs that use them")

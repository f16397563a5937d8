"""The stage that times models of any format side by side."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from pipelines.machine.memory import in_words
from pipelines.results import print_table
from transfer.classifier import ClassifierCard, read_card
from transfer.errors import InputError, check_range
from transfer.exporting.about import read_about
from transfer.exporting.formats import format_of
from transfer.exporting.timing import Timing, time_model


@dataclass(frozen=True)
class BenchModelStage:
    """Time classifiers of any format on this machine: one image, many, file size, memory."""

    models: Positional[tuple[Path, ...]] = ()
    """Files: .keras, .tflite, .onnx, .xml, or the folder of a SavedModel."""
    image_size: tuple[int, int] | None = None
    """Height and width in pixels of the images; by default what each model resizes images to."""
    batch_size: int = 32
    """Images at a time, for images a second."""
    seconds: float = 3.0
    """How long each model is timed, for one image and for many."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        check_range(self, "at least 1", "batch_size")
        check_range(self, "more than 0", "seconds")


def run(stage: BenchModelStage) -> dict[str, Timing]:
    """Times one model after the other, each in a fresh process, and prints a table.

    Returns:
        What was measured, by the model's name in the table.

    Raises:
        InputError: If none is named, or one cannot be opened.
    """
    if not stage.models:
        raise InputError("expected models to time, received none; name their files")
    cards = {path: _card(path) for path in stage.models}  # first, so that all are found
    timings: dict[str, Timing] = {}
    rows = []
    for path in dict.fromkeys(stage.models):
        size = stage.image_size or cards[path].image_size
        timing = time_model(path, size, stage.batch_size, stage.seconds)
        timings[str(path)] = timing
        rows.append(
            [
                str(path),
                f"{size[0]} x {size[1]}",
                f"{timing.median_ms:.1f}",
                f"{timing.p90_ms:.1f}",
                f"{timing.images_per_second:,.0f}",
                in_words(_bytes_of(path)),
                in_words(timing.memory_bytes),
                f"{timing.start_seconds:.1f}",
            ]
        )
    columns = ["model", "pixels", "median ms", "p90 ms", "images/s", "size", "memory", "start s"]
    print_table(f"One image, and {stage.batch_size} at a time", columns, rows)
    return timings


def _card(path: Path) -> ClassifierCard:
    return read_card(path) if format_of(path).name == "keras" else read_about(path).card


def _bytes_of(path: Path) -> int:
    """Size of a model's file, of all in a folder, or of an OpenVINO model's two files."""
    files = path.rglob("*") if path.is_dir() else [path]
    if path.suffix == ".xml":
        files = [path, path.with_suffix(".bin")]
    return sum(file.stat().st_size for file in files if file.is_file())

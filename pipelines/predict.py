"""The prediction stage: a saved classifier over images, folders or patterns."""

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache.durable import whole_file
from pipelines.bad_images import check_heads
from pipelines.given_images import given_images
from pipelines.models import CLASSIFIER, FINETUNED, read_finetuned, read_head
from pipelines.results import print_table
from pipelines.scoring import predict_images, rank
from pipelines.setup import Setup
from pipelines.terminal import complain
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.images.decoding import BadImage, Decoding
from transfer.images.imageset import ImageSet
from transfer.names import readable, shown


@dataclass(frozen=True)
class PredictStage:
    """Name the classes of images with a saved classifier."""

    setup: Setup = field(default_factory=Setup)
    images: tuple[str, ...] = ()
    """Image files, folders (searched recursively) or patterns such as 'holiday/*.jpg'; - is
    standard input: one encoded image, or the paths of many, one a line or with NUL between them."""
    model: Path | None = None
    """A saved classifier; by default the run's fine-tuned one where that is better on validation,
    else the one with the frozen backbone. Programs of your own give it pixels from 0 to 255, not
    from 0 to 1."""
    top: int = 3
    """How many classes to name for each image, best first."""
    output: Path | None = None
    """A .csv or .json file for the predictions; by default a table on the terminal."""


def run(stage: PredictStage) -> list[dict]:
    """Classifies images.

    Returns:
        One entry an image: its path, the best class, its probability, and the top classes.

    Raises:
        InputError: If nothing matches, a file is no image, or there is no classifier.
    """
    if stage.output and stage.output.suffix not in (".csv", ".json"):
        raise InputError(f"--output expects a .csv or .json file, received {stage.output}")
    if stage.top < 1:
        raise InputError(f"--top expects at least 1, received {stage.top}")
    images = given_images(stage.images)
    model = stage.model or default_model(stage.setup.run_folder)
    skip = stage.setup.data.bad_images == "skip"
    if not skip:
        check_heads(images)
    import_keras()
    from transfer.classifier import load_classifier, top_classes

    classifier, card = load_classifier(model)
    images = replace(images, decoding=Decoding(card.window, card.page))
    bad: list[BadImage] = []
    probabilities = predict_images(
        classifier, images, "predicting", set_aside=bad if skip else None
    )
    good = _without(images, bad)
    predictions = [
        {
            "image": readable(id),
            "class": best[0][0],
            "probability": round(best[0][1], 6),
            "top": [{"class": name, "probability": round(value, 6)} for name, value in best],
        }
        for id, best in zip(
            good, top_classes(probabilities, card.class_names, stage.top), strict=True
        )
    ]
    _write(predictions, stage.output)
    return predictions


def default_model(run_folder: Path) -> Path:
    """The run's fine-tuned classifier where it beat the frozen one, else the one with the head.

    Raises:
        InputError: If the run has none.
    """
    head = read_head(run_folder)
    tuned = read_finetuned(run_folder, head, "predict")
    better = tuned is not None and _rank(tuned["after"]) < _rank(tuned["before"])
    return run_folder / (FINETUNED if better else CLASSIFIER)


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    return rank(scores, by="log_loss")


def _without(images: ImageSet, bad: list[BadImage]) -> list[str]:
    """Ids of the images that were classified; those that were not are named on stderr."""
    if bad:
        lines = "\n".join(f"  {image}" for image in bad)
        complain(f"predict: left out {len(bad)} files that are no images:\n{lines}")
    left_out = {image.id for image in bad}
    good = [id for id in images.ids if id not in left_out]
    if not good:
        raise InputError("expected at least one image, received none that can be decoded")
    return good


def _write(predictions: list[dict], output: Path | None) -> None:
    if output is None:
        rows = [
            [prediction["image"]]
            + [f"{entry['class']} {entry['probability']:.4f}" for entry in prediction["top"]]
            for prediction in predictions
        ]
        ranks = [f"{rank}." for rank in range(1, len(predictions[0]["top"]) + 1)]
        print_table(f"{len(predictions)} images", ["image", *ranks], rows)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(output) as temporary:
        if output.suffix == ".json":
            temporary.write_text(json.dumps(predictions, indent=1) + "\n", encoding="utf-8")
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(_csv_lines(predictions))
    print(f"predict: {len(predictions)} images, in {shown(str(output))}")


def _csv_lines(predictions: list[dict]) -> list[list[object]]:
    count = len(predictions[0]["top"])
    header = [f"{what}_{rank}" for rank in range(1, count + 1) for what in ("class", "probability")]
    return [["image", *header]] + [
        [prediction["image"]]
        + [value for entry in prediction["top"] for value in (entry["class"], entry["probability"])]
        for prediction in predictions
    ]

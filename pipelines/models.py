"""The models of a run: each file holds what was found of it, and which others belong to it.

`classifier.keras` holds the head alone as well, and its options and scores, with an id of its own;
`finetuned.keras` says with which head it began. A file is replaced in one step, so that what is
read belongs together, whatever was interrupted. The loose files beside them are for people.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.scoring import rank
from transfer.backend.startup import import_keras
from transfer.classifier import ClassifierCard, load_classifier, model_from_bytes, read_members
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

CLASSIFIER = "classifier.keras"
FINETUNED = "finetuned.keras"
HEAD_RESULT = "head.json"
"""In the classifier: the head's id, options and scores, and the features' key."""
HEAD_MODEL = "head.keras"
"""In the classifier: the head alone, from features to probabilities."""
TRAINING_HEAD = "head-of-training-images.keras"
"""In the classifier, where its head has seen validation images: the same head without them."""
KNOWLEDGE = "knowledge.npz"
"""In either model: the images that it knows, see `transfer.knowing.knowledge`."""
FINETUNE_RESULT = "finetune.json"
"""In the fine-tuned model: its id and scores, and the id of the head that it began with."""


def read_head(run_folder: Path) -> dict[str, Any]:
    """What is known of a run's head.

    Raises:
        InputError: If the run has none.
    """
    (result,) = read_members(run_folder / CLASSIFIER, HEAD_RESULT)
    return json.loads(result)


def load_head(run_folder: Path) -> tuple[dict[str, Any], "keras.Model"]:
    """A run's head, and what is known of it.

    Returns:
        As `read_head`, and the model from features to probabilities.

    Raises:
        InputError: If the run has none.
    """
    result, model = read_members(run_folder / CLASSIFIER, HEAD_RESULT, HEAD_MODEL)
    import_keras()
    return json.loads(result), model_from_bytes(model)


def has_training_head(head: dict[str, Any]) -> bool:
    """Whether a head that has seen validation images has a fit beside it that has not.

    Args:
        head: From `read_head`.
    """
    return head["refitted"] and "chosen" in head


def load_to_tune(run_folder: Path, head: dict[str, Any]) -> "tuple[keras.Model, ClassifierCard]":
    """The run's classifier, with a head that has seen no validation image.

    Args:
        run_folder: The run's folder.
        head: From `read_head`.

    Raises:
        InputError: If the file is missing.
    """
    classifier, card = load_classifier(run_folder / CLASSIFIER)
    if has_training_head(head):
        (content,) = read_members(run_folder / CLASSIFIER, TRAINING_HEAD)
        weights = model_from_bytes(content).get_weights()
        classifier.get_layer("body").get_layer("head").set_weights(weights)
    return classifier, card


def read_finetuned(run_folder: Path, head: dict[str, Any], stage: str) -> dict[str, Any] | None:
    """What is known of a run's fine-tuned model, if there is one that began with this head.

    Args:
        run_folder: The run's folder.
        head: From `read_head`.
        stage: Who says so where it began with another.
    """
    path = run_folder / FINETUNED
    if not path.exists():
        return None
    with suppress(InputError):  # a file without the member is of an earlier version
        result: dict[str, Any] = json.loads(read_members(path, FINETUNE_RESULT)[0])
        if result["head_id"] == head["id"]:
            return result
    print(f"{stage}: {path} belongs to an older head and is not used; run `transfer finetune`")
    return None


def tuned_id(tuned: dict[str, Any] | None) -> str:
    """The id of a fine-tuned model, from `read_finetuned`; empty if there is none."""
    return "" if tuned is None else tuned.get("id", "")  # earlier versions gave none


def default_model(run_folder: Path, stage: str) -> Path:
    """The run's fine-tuned classifier where it beat the frozen one, else the one with the head.

    Args:
        run_folder: The run's folder.
        stage: As `read_finetuned` takes it.

    Raises:
        InputError: If the run has none.
    """
    head = read_head(run_folder)
    tuned = read_finetuned(run_folder, head, stage)
    better = tuned is not None and _rank(tuned["after"]) < _rank(tuned["before"])
    return run_folder / (FINETUNED if better else CLASSIFIER)


def lies_in(model: Path, run_folder: Path) -> bool:
    """Whether a classifier's file is one of a run, whose images and report are its own."""
    return run_folder.exists() and run_folder.samefile(model.parent)


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    return rank(scores, by="log_loss")

"""A fine-tuned classifier on disk; none where the frozen one stays."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.finetuning.judging import Judgement, Trainings
from pipelines.knowing import knowledge_of_images
from pipelines.models import FINETUNE_RESULT, FINETUNED, KNOWLEDGE
from pipelines.out_of_fold import OUT_OF_FOLD, OutOfFold
from pipelines.progress import waiting
from pipelines.results import as_json, write_json
from transfer.images.imageset import ImageSet

if TYPE_CHECKING:
    import keras

    from transfer.classifier import ClassifierCard


def save(
    folder: Path,
    classifier: "keras.Model",
    card: "ClassifierCard",
    trainings: Trainings,
    judged: Judgement,
    result: dict[str, Any],
    images: ImageSet,
) -> None:
    """Moves the classifier as far as was chosen, calibrates and saves it.

    Args:
        folder: The run's.
        classifier: What is moved, from where it starts.
        card: The classifier's.
        trainings: What moved it.
        judged: How far.
        result: What its file says of it.
        images: All rows.
    """
    chosen = judged.chosen
    if not chosen.share:
        (folder / FINETUNED).unlink(missing_ok=True)
        write_json(folder / FINETUNE_RESULT, result)
        return
    from transfer.classifier import save_classifier
    from transfer.heads.building import divide_logits

    start = trainings.tuner.start
    trainings.tuner.set_weights(
        [one + chosen.share * move for one, move in zip(start, judged.move, strict=True)]
    )
    divide_logits(classifier.get_layer("body").get_layer("head"), chosen.temperature)
    rows = judged.rows
    said = OutOfFold(np.asarray(images.ids[rows]), images.labels[rows], judged.folds, judged.after)
    members = {
        FINETUNE_RESULT: as_json(result).encode(),
        OUT_OF_FOLD: said.as_npz(result["head_id"]),
    }
    card = replace(card, temperature=chosen.temperature)
    with waiting("looking at known images"):
        knowledge = knowledge_of_images(
            classifier, card, images, trainings.learned, rows, judged.after
        )
    if knowledge is not None:
        members[KNOWLEDGE] = knowledge.to_bytes()
    save_classifier(classifier, card, folder / FINETUNED, members)
    write_json(folder / FINETUNE_RESULT, result)

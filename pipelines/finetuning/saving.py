"""A fine-tuned classifier on disk; none where the frozen one stays."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.finetuning.judging import Judgement, Trainings
from pipelines.knowing import knowledge_of_images
from pipelines.models import FINETUNE_RESULT, FINETUNED, KNOWLEDGE
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

    start = trainings.tuner.start
    trainings.tuner.set_weights(
        [one + chosen.share * move for one, move in zip(start, judged.move, strict=True)]
    )
    logits = classifier.get_layer("body").get_layer("head").get_layer("logits")
    logits.set_weights([weight / chosen.temperature for weight in logits.get_weights()])
    members = {FINETUNE_RESULT: as_json(result).encode()}
    with waiting("looking at known images"):
        knowledge = knowledge_of_images(
            classifier, card, images, trainings.learned, judged.rows, judged.after
        )
    if knowledge is not None:
        members[KNOWLEDGE] = knowledge.to_bytes()
    save_classifier(classifier, card, folder / FINETUNED, members)
    write_json(folder / FINETUNE_RESULT, result)

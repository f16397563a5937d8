"""Pictures of why images were taken for what they were: evidence, and nearest training images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipelines.knowing import nearest_ids
from pipelines.models import lies_in
from pipelines.progress import progress, waiting
from pipelines.setup import Setup
from pipelines.terminal import complain
from transfer.errors import InputError
from transfer.explaining.evidence import Explainer, Explanation
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet
from transfer.knowing.knowledge import Knowledge
from transfer.names import readable


def explain_images(
    explainer: Explainer,
    knowledge: Knowledge | None,
    training: "TrainingImages",
    images: ImageSet,
    folder: Path,
) -> int:
    """Draws a picture of each image.

    Args:
        explainer: Of the classifier.
        knowledge: What it knows, if that is known.
        training: Images that it learned from, as far as they are at hand.
        images: As the classifier sees them; those that cannot be decoded get no picture.
        folder: Where pictures go, named by number and image.

    Returns:
        How many pictures there are.
    """
    if explainer.why_not:
        complain(f"predict: --explain draws no heat: {explainer.why_not}")
    from transfer.pictures.explanations import plot_explanation

    drawn = 0
    with progress("explaining", len(images)) as update:
        for row, image in images.stream():
            update(row + 1)
            if isinstance(image, BadImage):
                continue
            explanation = explainer.explain(image)
            title = _title(explainer.card.class_names, explanation)
            nearest: list[tuple[str, np.ndarray | None]] = []
            if knowledge:
                strange, ids = _judged(knowledge, explanation)
                title += strange
                nearest = [(id, training.pixels(id)) for id in ids]
            name = f"{row + 1:05d}-{Path(readable(images.ids[row])).stem}.png"
            plot_explanation(image, explanation.heat, title, nearest, folder / name)
            drawn += 1
    return drawn


class TrainingImages:
    """Training images by their ids, where they are at hand.

    Args:
        images: Those that may be asked for; None where they are not.
    """

    def __init__(self, images: ImageSet | None = None) -> None:
        self._images = images
        ids: Iterable[str] = () if images is None else images.ids
        self._rows = {readable(str(id)): row for row, id in enumerate(ids)}

    @staticmethod
    def of_run(
        setup: Setup, model: Path, knowledge: Knowledge | None, stage: str
    ) -> "TrainingImages":
        """Those of a run's data that a classifier compares with; none of another run's classifier.

        Args:
            setup: Of the run.
            model: The classifier's file.
            knowledge: What it knows, if that is known.
            stage: Who says so where they cannot be read.
        """
        if knowledge is None or not lies_in(model, setup.run_folder):
            return TrainingImages()
        try:
            with waiting("listing the training images"):
                images = setup.images()
        except (InputError, OSError) as error:
            complain(f"{stage}: training images are named, not drawn: {error}")
            return TrainingImages()
        # Of an archive that can only be read forward, what is in the set is kept in memory.
        return TrainingImages(images.with_ids(knowledge.ids.tolist()))

    def pixels(self, id: str) -> np.ndarray | None:
        """`(height, width, 3)` uint8 RGB, or None; of an id as it is, or as `readable` makes it."""
        row = self._rows.get(readable(id))
        if self._images is None or row is None:
            return None
        try:
            return self._images.read(row)
        except (BadImage, OSError):  # changed since
            return None


def _title(class_names: tuple[str, ...], explanation: Explanation) -> str:
    probability = explanation.probabilities[explanation.explained]
    return f"{class_names[explanation.explained]} {probability:.0%}"


def _judged(knowledge: Knowledge, explanation: Explanation) -> tuple[str, list[str]]:
    verdicts = knowledge.judge(explanation.probabilities[None], explanation.features[None])
    (ids,) = nearest_ids(knowledge, verdicts)
    return ", unknown" if verdicts.unknown[0] else "", ids

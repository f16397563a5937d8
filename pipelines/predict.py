"""The prediction stage: a saved classifier over images, folders or patterns."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.bad_images import check_heads, refusal
from pipelines.classifiers import KerasClassifier, open_classifier
from pipelines.counting import counted
from pipelines.exports import WORTH_STARTING_KERAS, stand_in
from pipelines.given_images import given_images
from pipelines.knowing import is_without, read_knowledge
from pipelines.models import default_model
from pipelines.predicting.entries import SUFFIXES, entries_of
from pipelines.predicting.growing import GrowingFile, growing_file
from pipelines.predicting.keys import key_of
from pipelines.predicting.table import MOST_ROWS, Table
from pipelines.progress import Speed, estimate, progress
from pipelines.scoring import Classifier, Scored, as_seen_by
from pipelines.setup import Setup
from pipelines.terminal import complain
from transfer.classifier import ClassifierCard, read_card
from transfer.errors import InputError
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet
from transfer.knowing.knowledge import Knowledge
from transfer.names import shown


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
    """A .csv, .json or .jsonl (one object a line) file for the predictions, written as they come
    and gone on with where the same command was stopped; by default a table on the terminal."""
    explain: Path | None = None
    """A folder for a picture of each image: what in it speaks for the class, and the training
    images nearest to it."""


def run(stage: PredictStage) -> int:
    """Classifies images, and says or writes what they show.

    Returns:
        How many images were classified.

    Raises:
        InputError: If nothing matches, a file is no image, or there is no classifier.
    """
    _check(stage)
    images = given_images(stage.images)
    if stage.output is None and len(images) > MOST_ROWS:
        raise InputError(
            f"--output expects a .csv, .json or .jsonl file for {len(images):,} images, received "
            f"none; a table is for {MOST_ROWS:,} at most"
        )
    model = stage.model or default_model(stage.setup.run_folder, "predict")
    skip = stage.setup.data.bad_images == "skip"
    if not skip:
        check_heads(images)
    running, classifier, card, knowledge = _opened(stage, model, len(images))
    images = as_seen_by(card, images)
    speed = Speed()
    with _results(stage, running, images) as results:
        for scored in _scored(classifier, images, results.stop):
            speed.note(scored.stop)
            if scored.bad and not skip:
                raise refusal(images, scored.stop, scored.bad)
            results.add(entries_of(images, scored, card.class_names, knowledge, stage.top), scored)
        count = _left_over(images, results.bad)
        results.finish()
    if stage.output:
        print(
            f"predict: {counted(count, 'image')}{speed.in_words()}, in {shown(str(stage.output))}"
        )
    if stage.explain:
        from pipelines.explaining import TrainingImages, explain_images
        from transfer.explaining.evidence import Explainer

        assert isinstance(classifier, KerasClassifier)  # no export takes its place
        explainer = Explainer(classifier.model, card)
        training = TrainingImages.of_run(stage.setup, model, knowledge, "predict")
        drawn = explain_images(explainer, knowledge, training, images, stage.explain)
        print(f"predict: {counted(drawn, 'picture')}, in {shown(str(stage.explain))}")
    return count


def _check(stage: PredictStage) -> None:
    if stage.output and stage.output.suffix not in SUFFIXES:
        raise InputError(f"--output expects a .csv, .json or .jsonl file, received {stage.output}")
    if stage.output and stage.output.is_dir():
        raise InputError(f"--output expects the name of a file, received a folder: {stage.output}")
    if stage.explain and stage.explain.is_file():
        raise InputError(f"--explain expects a folder, received a file: {stage.explain}")
    if stage.top < 1:
        raise InputError(f"--top expects at least 1, received {stage.top}")


def _opened(
    stage: PredictStage, model: Path, count: int
) -> tuple[Path, Classifier, ClassifierCard, Knowledge | None]:
    """What classifies so many images, and what it knows: the model, or an export in its place."""
    engine = stage.setup.engine
    quick = None
    if stage.explain:
        read_card(model)  # exported files have no insides to explain
    elif stage.model is None and engine == "auto" and count < WORTH_STARTING_KERAS:
        quick = stand_in(model)
    if quick:
        try:
            return quick, *open_classifier(quick, say=_say), _knowledge(quick)
        except InputError as error:
            _say(f"{error}; {model.name} takes its place")
    knowledge = _knowledge(model)
    return model, *open_classifier(model, engine, _say, knowledge is not None), knowledge


def _say(text: str) -> None:
    print(f"predict: {text}", flush=True)


def _knowledge(model: Path) -> Knowledge | None:
    """What the classifier knows, if its file says that."""
    knowledge = read_knowledge(model)
    if knowledge is None:
        _say(is_without(model))
    return knowledge


def _results(
    stage: PredictStage, model: Path, images: ImageSet
) -> AbstractContextManager[GrowingFile | Table]:
    """Where predictions go."""
    if stage.output is None:
        return nullcontext(Table())
    options = {
        "top": stage.top,
        "bad_images": stage.setup.data.bad_images,
        "engine": stage.setup.engine,
    }
    return growing_file(stage.output, key_of(model, images, options), _say)


def _scored(classifier: Classifier, images: ImageSet, start: int) -> Iterator[Scored]:
    """What the classifier says, while a bar or a line says how long it will take."""
    estimated = estimate("predict", len(images))
    with progress("predicting", len(images)) as update:
        for scored in classifier.scored(images, start):
            yield scored
            update(scored.stop)
            estimated(scored.stop)


def _left_over(images: ImageSet, bad: list[BadImage]) -> int:
    """How many images were classified; those that were not are named on stderr."""
    if bad:
        lines = "\n".join(f"  {image}" for image in bad)
        complain(
            f"predict: left out {counted(len(bad), 'file')} without a readable image:\n{lines}"
        )
    if len(bad) == len(images):
        raise InputError("expected at least one image, received none that can be decoded")
    return len(images) - len(bad)

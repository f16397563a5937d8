"""A new head on disk: the classifier that holds all of it, and loose files for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from cache import FeatureFile
from cache.durable import whole_file
from pipelines.features import split_of
from pipelines.knowing import knowledge_of
from pipelines.models import CLASSIFIER, HEAD_MODEL, HEAD_RESULT, KNOWLEDGE, TRAINING_HEAD
from pipelines.out_of_fold import OUT_OF_FOLD, OutOfFold
from pipelines.progress import waiting
from pipelines.results import as_json, write_json
from pipelines.setup import Setup
from transfer.heads.fitting import Fitted
from transfer.images.sources import how_split

if TYPE_CHECKING:
    import keras

    from transfer.knowing.knowledge import Knowledge
    from transfer.metrics import Evaluation


@dataclass(frozen=True, eq=False)
class NewHead:
    """A head to be saved.

    Attributes:
        model: From the features of one view to probabilities.
        cuts: Those that it sees.
        scores: Of the validation images, by the fit to training images where there is one.
        notes: What else `head.json` says.
        seconds: Of training or choosing.
        training: The same head fitted to the training images alone, if `model` has seen others.
        fitted: How it was trained, if by steps.
        temperature: By which it divides its logits.
        out_of_fold: What it said of images it had not seen.
    """

    model: "keras.Model"
    cuts: tuple[str, ...]
    scores: "Evaluation"
    notes: Mapping[str, Any]
    seconds: float
    training: "keras.Model | None" = None
    fitted: Fitted | None = None
    temperature: float = 1.0
    out_of_fold: OutOfFold | None = None


def save(setup: Setup, features: FeatureFile, new: NewHead) -> dict[str, Any]:
    """Writes head, history, scores and classifier into the run's folder.

    The classifier's file holds all that stages read; with its renaming the new head is there, and
    what is written after it is for people.

    Returns:
        What `head.json` says.
    """
    head = _without_optimizer(new.model)
    result = _result(setup, features, new)
    members = {HEAD_RESULT: as_json(result).encode(), HEAD_MODEL: _as_bytes(head)}
    if new.training is not None:
        members[TRAINING_HEAD] = _as_bytes(_without_optimizer(new.training))
    if new.out_of_fold is not None:
        members[OUT_OF_FOLD] = new.out_of_fold.as_npz(result["id"])
    knowledge = _knowledge(setup, features, new)
    if knowledge is not None:
        members[KNOWLEDGE] = knowledge.to_bytes()
    folder = setup.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    export(setup, features, new, head, folder / CLASSIFIER, members)
    for name in (HEAD_MODEL, OUT_OF_FOLD):
        _replace(folder / name, members.get(name))
    write_json(folder / HEAD_RESULT, result)
    _show_history(folder, new.fitted)
    return result


def _knowledge(setup: Setup, features: FeatureFile, new: NewHead) -> "Knowledge | None":
    """What images of known classes look like to the head; None where it judged none."""
    if new.out_of_fold is None:
        return None
    split = split_of(features, setup.data)
    judges, said = new.out_of_fold.rows_in(features.ids), new.out_of_fold.probabilities
    learned = split != "test" if new.notes["refitted"] else split == "train"
    with waiting("looking at known images"):
        return knowledge_of(features, new.cuts[-1], np.flatnonzero(learned), judges, said)


def _replace(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _show_history(folder: Path, fitted: Fitted | None) -> None:
    """Table and picture of a training; those of an older one go where there was none."""
    table, picture = folder / "head-history.csv", folder / "head-history.png"
    if fitted is None:
        for path in (table, picture):
            path.unlink(missing_ok=True)
        return
    from transfer.pictures.curves import plot_history

    with whole_file(table) as temporary:
        fitted.save_csv(temporary)
    plot_history(fitted.history, picture, best_epoch=fitted.best_epoch)


def _without_optimizer(model: "keras.Model") -> "keras.Model":
    """A copy; else the optimizer's state would travel inside every exported classifier."""
    import keras

    head = keras.Model.from_config(model.get_config())
    head.set_weights(model.get_weights())
    return head


def _as_bytes(model: "keras.Model") -> bytes:
    from transfer.classifier import model_as_bytes

    return model_as_bytes(model)


def _result(setup: Setup, features: FeatureFile, new: NewHead) -> dict[str, Any]:
    """What `head.json` says."""
    return {
        "id": uuid4().hex,
        "features": features.key,
        **how_split(setup.data),
        "backbone": asdict(setup.backbone),
        "cuts": list(new.cuts),
        "class_names": list(features.class_names),
        "seconds": round(new.seconds, 2),
        "val_accuracy": new.scores.accuracy,
        "val_loss": new.scores.loss,
        **new.notes,
    }


def export(
    setup: Setup,
    features: FeatureFile,
    new: NewHead,
    head: "keras.Model",
    path: Path,
    members: Mapping[str, bytes],
) -> None:
    """Joins backbone and head into one classifier that takes raw pixels, and saves it.

    Args:
        setup: What the features were made with.
        features: The file that the head was trained on.
        new: What is saved.
        head: From the features of one view to probabilities.
        path: Where the classifier goes.
        members: What its file holds as well, by name.
    """
    from transfer.backbones.building import build_backbone
    from transfer.backbones.cuts import cut_backbone
    from transfer.classifier import ClassifierCard, build_classifier, save_classifier

    options = replace(setup.backbone, cut=new.cuts)
    card = ClassifierCard(
        class_names=features.class_names,
        backbone=features.spec.backbone,
        image_size=options.resolved_image_size(),
        cuts=new.cuts,
        pooling=options.pooling,
        views=options.views,
        window=setup.data.window,
        page=setup.data.page,
        temperature=new.temperature,
    )
    with waiting("exporting the classifier"):
        backbone = cut_backbone(build_backbone(options), new.cuts)
        save_classifier(build_classifier(backbone, head, options), card, path, members)

"""What a classifier's file says of the images that it knows: made with it, read by `predict`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache import FeatureFile
from pipelines.classifiers import KerasClassifier
from pipelines.models import KNOWLEDGE
from transfer.classifier import ClassifierCard, body_with_features, read_members
from transfer.errors import InputError
from transfer.exporting.runtimes import is_exported
from transfer.images.imageset import ImageSet
from transfer.knowing.knowledge import Knowledge, Verdicts, learn, rows_that_fit
from transfer.names import shown

if TYPE_CHECKING:
    import keras

MOST_JUDGES = 2_000
"""Known images that set the threshold; more would move it by less than a hundredth of them."""
BESIDE = ".knowledge.npz"
"""What is added to the name of an exported model."""
READ = 256
"""Images whose features are read at a time: those that have positions are large."""


def sample(rows: np.ndarray, count: int) -> np.ndarray:
    """Positions of at most so many of some rows, the same ones every time, increasing."""
    order = np.random.default_rng(0).permutation(len(rows))
    return np.sort(order[:count])


def knowledge_of(
    features: FeatureFile, cut: str, learned: np.ndarray, judges: np.ndarray, said: np.ndarray
) -> Knowledge | None:
    """Learns what known images look like, from stored features.

    Args:
        features: The file.
        cut: The last that the head sees.
        learned: Increasing row numbers of the images that the head was fitted to.
        judges: `(images,)` row numbers of known images.
        said: `(images, classes)` probabilities of these by fits that had not seen them.

    Returns:
        None, which is said, where features are too many for an index.
    """
    channels = features.shape(cut)[-1]
    room = rows_that_fit(channels)
    if not room:
        print(
            f"head: {channels:,} features of an image are too many for an index, so that predict "
            "will not say what is unknown; --pooling avg leaves fewer"
        )
        return None
    learned = learned[sample(learned, room)]
    order = sample(judges, MOST_JUDGES)
    return learn(
        features.ids[learned],
        read_means(features, cut, learned),
        features.ids[judges[order]],
        read_means(features, cut, judges[order]),
        said[order],
    )


def knowledge_of_images(
    classifier: "keras.Model",
    card: ClassifierCard,
    images: ImageSet,
    learned: np.ndarray,
    judges: np.ndarray,
    said: np.ndarray,
) -> Knowledge | None:
    """Learns what known images look like to a classifier whose features are stored nowhere.

    Args:
        classifier: As it will be saved.
        card: Its card.
        images: All rows.
        learned: As `knowledge_of` takes it, and what follows, too.
        judges: Row numbers of known images.
        said: Probabilities of these.
    """
    body = body_with_features(classifier, card)
    room = rows_that_fit(body.outputs[1].shape[-1])
    if not room:
        return None
    learned = learned[sample(learned, room)]
    order = sample(judges, MOST_JUDGES)
    rows = np.union1d(learned, judges[order])
    seen = images.subset(rows)
    runner = KerasClassifier(classifier, body=body)
    features = np.concatenate(
        [scored.features for scored in runner.scored(seen) if scored.features is not None]
    )
    of_learned, of_judges = (np.searchsorted(rows, some) for some in (learned, judges[order]))
    return learn(
        np.asarray(seen.ids[of_learned]),
        features[of_learned],
        np.asarray(seen.ids[of_judges]),
        features[of_judges],
        said[order],
    )


def read_means(features: FeatureFile, cut: str, rows: np.ndarray) -> np.ndarray:
    """`(rows, channels)` float32 of any rows, averaged over views and positions."""
    increasing, places = np.unique(rows, return_inverse=True)
    blocks = [
        features.read(increasing[start : start + READ], (cut,))
        for start in range(0, len(increasing), READ)
    ]
    means = [
        block.reshape(len(block), -1, block.shape[-1]).mean(axis=1, dtype=np.float32)
        for block in blocks
    ]
    return np.concatenate(means)[places]


def read_knowledge(path: Path) -> Knowledge | None:
    """What a classifier's file, or one beside an export, says of the images that it knows.

    Returns:
        None if nothing.
    """
    content = knowledge_bytes(path)
    return None if content is None else Knowledge.from_bytes(content)


def is_without(path: Path) -> str:
    """What is said of a classifier that `read_knowledge` finds none for."""
    return (
        f"{shown(str(path))} does not say what it knows, so that no image is called unknown: it "
        "was saved by an earlier version, or exported from one; name a new classifier with --model"
    )


def knowledge_bytes(path: Path) -> bytes | None:
    """The same as it is kept."""
    if is_exported(path):
        beside = path.with_name(path.name + BESIDE)
        return beside.read_bytes() if beside.is_file() else None
    try:
        (content,) = read_members(path, KNOWLEDGE)
    except InputError:  # of an earlier version, or another kind of file
        return None
    return content


def nearest_ids(knowledge: Knowledge, verdicts: Verdicts) -> list[list[str]]:
    """The ids of the nearest images, of each image."""
    return [[str(id) for id in knowledge.ids[rows]] for rows in verdicts.nearest]

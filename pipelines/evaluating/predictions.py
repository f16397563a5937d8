"""What classifiers said of the images they were scored on, kept for reports and comparisons."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.durable import whole_file
from transfer.errors import InputError

_OF_MODEL = "probabilities of "


@dataclass(frozen=True, eq=False)
class Predictions:
    """What each model said of each image of one split.

    Attributes:
        split: Its name.
        features: Key of the feature file that the images come from.
        head_id: Of the run's head.
        ids: `(images,)` str.
        labels: `(images,)` integers.
        class_names: `(classes,)` str.
        probabilities: `(images, classes)` float32 by the model's name; the head comes first.
        tuned_id: Of the run's fine-tuned model; empty if there is none.
    """

    split: str
    features: str
    head_id: str
    ids: np.ndarray
    labels: np.ndarray
    class_names: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    tuned_id: str = ""

    def right(self, model: str) -> np.ndarray:
        """`(images,)` bool: whether the most probable class is the true one."""
        return self.probabilities[model].argmax(axis=1) == self.labels


def predictions_path(run_folder: Path, split: str) -> Path:
    """Where `evaluate` keeps them."""
    return run_folder / f"evaluation-{split}.npz"


def save_predictions(run_folder: Path, said: Predictions) -> None:
    """Writes them, whole or not at all."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        allow_pickle=False,
        features=np.array(said.features),
        head_id=np.array(said.head_id),
        tuned_id=np.array(said.tuned_id),
        ids=said.ids.astype(str),
        labels=said.labels,
        class_names=said.class_names.astype(str),
        models=np.array(list(said.probabilities)),
        **{
            f"{_OF_MODEL}{number}": values.astype(np.float32)
            for number, values in enumerate(said.probabilities.values())
        },
    )
    with whole_file(predictions_path(run_folder, said.split)) as temporary:
        temporary.write_bytes(file.getvalue())


def read_predictions(run_folder: Path, split: str) -> Predictions | None:
    """Reads them; None where the split was not evaluated.

    Raises:
        InputError: If the file is none of these.
    """
    path = predictions_path(run_folder, split)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            models = arrays["models"].tolist()
            return Predictions(
                split,
                str(arrays["features"]),
                str(arrays["head_id"]),
                arrays["ids"],
                arrays["labels"],
                arrays["class_names"],
                {name: arrays[f"{_OF_MODEL}{at}"] for at, name in enumerate(models)},
                str(arrays["tuned_id"]),
            )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise InputError(
            f"{path} expects what `transfer evaluate` wrote, received {error}; evaluate again"
        ) from None

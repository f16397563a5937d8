"""One classifier to several formats, each compared with it before the file is kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from transfer.backend.startup import import_keras, without_chatter
from transfer.classifier import ClassifierCard, load_classifier, save_classifier
from transfer.errors import InputError
from transfer.exporting.about import About, Agreement, about_path, write_about
from transfer.exporting.agreement import (
    compare,
    probabilities_of,
    rows_to_compare,
    why_refused,
)
from transfer.exporting.apart import model_apart
from transfer.exporting.converting import convert
from transfer.exporting.formats import FORMATS, Format, FormatName, Precision, check_packages
from transfer.exporting.runtimes import KerasModel
from transfer.exporting.snippets import write_snippets
from transfer.extraction.engines import calibration_images
from transfer.images.digests import file_digest
from transfer.images.imageset import ImageSet
from transfer.machine.whole_files import whole_files

if TYPE_CHECKING:
    import keras

NAME = "classifier"
"""Of every exported model, before its suffix."""


@dataclass(eq=False)
class Exporter:
    """What several exports of a classifier share: its probabilities, and one SavedModel.

    Attributes:
        source: The `.keras` file.
        classifier: What is in it.
        card: What it says of itself.
        images: Those that the classifier was made of, with their splits; test images are not read.
        beside: Content of files that go beside each model, by what is added to its name.
        scratch: A folder for what is not kept.
    """

    source: Path
    classifier: "keras.Model"
    card: ClassifierCard
    images: ImageSet
    beside: Mapping[str, bytes]
    scratch: Path
    _compared: ImageSet = field(init=False)

    def __post_init__(self) -> None:
        """Chooses the images to compare on."""
        self._compared = self.images.subset(rows_to_compare(self.images.split))

    def export(
        self, to: FormatName, precision: Precision, folder: Path, allow_worse: bool = False
    ) -> Agreement:
        """Writes a model, the JSON about it and programs that use it; all of them or none.

        Args:
            to: The format.
            precision: One of those that it has.
            folder: Where the files go.
            allow_worse: Keep also what is farther from the classifier than `why_refused` lets pass.

        Returns:
            How near the file, in a process with its runtime alone, is to the classifier.

        Raises:
            InputError: If it cannot be converted, does not run, or is too far away.
        """
        of = FORMATS[to]
        check_packages(of, precision)
        with whole_files(folder) as temporary:
            path = temporary / f"{NAME}{of.suffix}"
            self._write(of, precision, path)
            about = About(self.card, to, precision, self._digest)
            write_about(about, about_path(path))  # the process apart looks for it
            with model_apart(path) as model:
                after = probabilities_of(model, self._compared)
            found = compare(self._probabilities, after, self._compared.labels, self._compared.split)
            reason = why_refused(found, precision)
            if reason and not allow_worse:
                raise InputError(f"{to} {precision} is too far from {self.source}: {reason}")
            write_about(About(self.card, to, precision, self._digest, found), about_path(path))
            write_snippets(of, path.name, temporary)
            for suffix, content in self.beside.items():
                path.with_name(path.name + suffix).write_bytes(content)
        return found

    def _write(self, of: Format, precision: Precision, path: Path) -> None:
        if of.name == "keras":
            save_classifier(self.classifier, self.card, path)
            return
        if of.name == "savedmodel":
            copytree(self._saved_model, path)
            return
        calibration = self._calibration if precision == "int8" else []
        try:
            with without_chatter():
                convert(of.name, self._saved_model, path, precision, calibration)
        except InputError:
            raise
        except Exception as error:  # converters raise whatever they meet
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self.source} cannot be converted to {of.name} {precision} "
                f"({type(error).__name__}: {reason}); choose another format or precision"
            ) from error

    @cached_property
    def _digest(self) -> str:
        return file_digest(self.source)

    @cached_property
    def _probabilities(self) -> np.ndarray:
        return probabilities_of(KerasModel(self.classifier, self.card), self._compared)

    @cached_property
    def _saved_model(self) -> Path:
        from transfer.exporting.graphs import save_graph

        folder = self.scratch / "saved"
        with without_chatter():
            save_graph(self.classifier, self.card, folder)
        return folder

    @cached_property
    def _calibration(self) -> list[np.ndarray]:
        pixels = calibration_images(self.images, self.card.image_size)
        return list(np.rint(pixels).astype(np.uint8))


@contextmanager
def exporter(source: Path, images: ImageSet, beside: Mapping[str, bytes]) -> Iterator[Exporter]:
    """Loads a classifier that is to be exported.

    Args:
        source: Its `.keras` file.
        images: Those that it was made of, with their splits.
        beside: See `Exporter`.

    Raises:
        InputError: If there is no classifier, it is of other classes, or Keras does not run on
            TensorFlow, whose converters are used.
    """
    import_keras()
    import keras

    if (backend := keras.backend.backend()) != "tensorflow":
        raise InputError(
            f"export expects Keras to run on tensorflow, received {backend}; run it with "
            "KERAS_BACKEND=tensorflow, which takes classifiers of any backend"
        )
    classifier, card = load_classifier(source)
    if card.class_names != images.class_names:
        raise InputError(
            f"{source} expects the classes {', '.join(card.class_names)}, the images have "
            f"{', '.join(images.class_names)}; choose a classifier of these images"
        )
    with TemporaryDirectory() as scratch:
        yield Exporter(source, classifier, card, images, beside, Path(scratch))

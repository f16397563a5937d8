"""CIFAR as Keras downloads it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.images import cifar
from transfer.images.downloads import keras_home


@dataclass(frozen=True)
class Download:
    """What keras.datasets downloads, and what it leaves in the folder for data sets.

    Source: keras/src/datasets/cifar10.py and cifar100.py, Keras 3.15.
    """

    target: str
    folder: str
    url: str
    sha256: str

    def here(self) -> Path | None:
        """The folder where it was downloaded to, if it was."""
        datasets = keras_home() / "datasets"
        folders = (datasets / self.target / self.folder, datasets / self.folder)
        return next((one for one in folders if one.is_dir() and cifar.is_complete(one)), None)


DOWNLOADS = {
    "cifar10": Download(
        "cifar-10-batches-py-target",
        "cifar-10-batches-py",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": Download(
        "cifar-100-python-target",
        "cifar-100-python",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}
"""By the name that `DataOptions.data` takes."""


def keras_copy(name: str) -> Path:
    """Returns the folder of CIFAR pickles that keras.datasets keeps, downloading it if need be.

    Args:
        name: A key of `DOWNLOADS`.

    Raises:
        InputError: If the download fails.
    """
    download = DOWNLOADS[name]
    if here := download.here():
        return here

    if "keras" not in sys.modules:  # before anything is built with it, ours or a notebook's
        import_keras()
    from keras.utils import get_file

    try:
        extracted = get_file(
            download.target, origin=download.url, extract=True, file_hash=download.sha256
        )
    except Exception as error:  # Keras raises plain Exception where a download fails.
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} could not be downloaded ({reason}): give a local copy of its archive "
            f"(DATA={Path(download.url).name}), a folder of your own images (DATA=folder), "
            "or run `make demo`, which needs no download"
        ) from error
    return Path(extracted) / download.folder

"""Rows of images in tars, which a pass through these tells, remembered in a table on disk."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from pipelines.machine.file_index import state_of
from pipelines.machine.remembered import remember, remembered
from transfer.images.archives import TarFiles
from transfer.images.imageset import ImageSet
from transfer.images.remote import SETTLED
from transfer.images.tar_shards import ShardedFiles
from transfer.images.texts import Texts

_FORMAT = "cached-transfer rows 1"
"""Raised where other rows follow from the same files, as the version of the package is."""


@dataclass(frozen=True)
class ImageTable:
    """A `transfer.images.sources.Remembering` of what tars hold.

    Ids, labels, splits and places stay on disk, from where processes of one machine share them.
    Files are taken for unchanged where a `FileIndex` would take them so.

    Attributes:
        path: Of the table, `.npz`; its folder is made when needed.
        rehash: Open anew what is remembered.
    """

    path: Path
    rehash: bool = False

    def __call__(self, files: Sequence[Path], opened: Callable[[], ImageSet]) -> ImageSet:
        """Opens images, or knows them.

        Raises:
            InputError: As `opened`.
        """
        states = [state_of(str(file.absolute())) for file in files]  # before the content, as there
        state = _joined(files, [said for said, _ in states])
        if not self.rehash and state and (known := self._load(files, state)):
            return known
        before_reading = time_ns()
        images = opened()
        if not state or max(changed for _, changed in states) > before_reading - SETTLED:
            return images
        if self.rehash or not (known := self._load(files, state)):  # else another was as quick
            self._save(images, state)
            known = self._load(files, state)
        # From the disk: what was collected in memory can go before a backbone needs it.
        return known or images

    def _save(self, images: ImageSet, state: str) -> None:
        described = _described(images.source)
        if described is None:
            return
        kind, about, places = described
        about |= {
            "kind": kind,
            "class_names": images.class_names,
            "left_out": dict(images.left_out),
        }
        ids = Texts.of(images.ids)
        remember(
            self.path,
            about | _made_of(state),
            encoded=ids.encoded,
            starts=ids.starts,
            labels=images.labels,
            split=images.split,
            members=images.members,
            **places,
        )

    def _load(self, files: Sequence[Path], state: str) -> ImageSet | None:
        known = remembered(self.path, mapped=True, **_made_of(state))
        if not known:
            return None
        about, columns = known
        return ImageSet(
            ids=Texts(columns["encoded"], columns["starts"]),
            labels=columns["labels"],
            class_names=tuple(about["class_names"]),
            split=columns["split"],
            source=_source(files, about, columns),
            members=columns["members"],
            left_out=about["left_out"],
        )


def _made_of(state: str) -> dict[str, str]:
    """What rows follow from; a table of other ones is none."""
    return {"format": _FORMAT, "state": state, "version": version("cached-transfer")}


def _joined(files: Sequence[Path], states: Sequence[str]) -> str:
    """What changes with any of some files, in short; "" where one is not there."""
    if not all(states):
        return ""
    # Names count as well: those of shards and their folders say the splits.
    lines = [f"{said} {file.absolute()}\0" for file, said in zip(files, states, strict=True)]
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _described(source: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]] | None:
    """The kind of a source, facts and arrays of it; None of one that is opened in no time."""
    if isinstance(source, TarFiles):
        bad_heads = {str(member): reason for member, reason in source.bad_heads.items()}
        about = {"compression": source.compression, "bad_heads": bad_heads}
        places = {"offsets": source.offsets, "sizes": source.sizes}
        digests = {} if source.digests is None else {"digests": source.digests}
        return "tar", about, places | digests
    if isinstance(source, ShardedFiles):
        bounds = {"bounds": source.starts}
        return "shards", {}, bounds | {"offsets": source.offsets, "sizes": source.sizes}
    if isinstance(source, np.ndarray):  # CIFAR's
        return "pixels", {}, {"pixels": source}
    return None


def _source(
    files: Sequence[Path], about: dict[str, Any], columns: dict[str, np.ndarray]
) -> TarFiles | ShardedFiles | np.ndarray:
    """What `_described` describes."""
    if about["kind"] == "pixels":
        return columns["pixels"]
    places = columns["offsets"], columns["sizes"]
    if about["kind"] == "shards":
        bounds = columns["bounds"]
        return ShardedFiles(tuple(files[: len(bounds) - 1]), bounds, *places)
    bad_heads = {int(member): reason for member, reason in about["bad_heads"].items()}
    return TarFiles(files[0], about["compression"], *places, columns.get("digests"), bad_heads)

"""What one pass through an archive told of its images, remembered from run to run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from pipelines.machine.remembered import remember, remembered
from transfer.images.texts import TextArray

_FORMAT = "cached-transfer images 1"


@dataclass(frozen=True)
class ImageIndex:
    """Digests of the images of one archive, and which of them are none by their heads.

    They are asked for by each run and each of its workers, and cost reading all of it.

    Attributes:
        path: Of the file, `.npz`; its folder is made when needed.
        content: Digest of the archive.
        ids: `(rows,)` str: of the images in question.
    """

    path: Path
    content: str
    ids: TextArray = field(compare=False)

    def load(self) -> tuple[np.ndarray, dict[str, str]] | None:
        """What is remembered: `(rows, 32)` uint8 digests, and reasons by id; None if nothing is."""
        known = remembered(self.path, mapped=True, format=_FORMAT, state=self._state)
        return known and (known[1]["digests"], known[0]["bad_heads"])

    def save(self, digests: np.ndarray, bad_heads: Mapping[str, str]) -> None:
        """Remembers what `load` returns."""
        about = {"format": _FORMAT, "state": self._state, "bad_heads": dict(bad_heads)}
        remember(self.path, about, digests=digests)

    @cached_property
    def _state(self) -> str:
        sha256 = hashlib.sha256(self.content.encode())
        for id in self.ids:
            sha256.update(f"{id}\0".encode())
        return sha256.hexdigest()

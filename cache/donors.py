"""Rows that other entries of the store have already: found by spec, cut and image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cache.errors import CacheError
from cache.reader import SEALED, FeatureFile
from cache.spec import FeatureSpec
from cache.verify import sound_rows

DAMAGED = "damaged.h5"
"""Name of a feature file that is being mended: its sound rows are given to its successor."""


def same_but_for_images_and_cuts(one: FeatureSpec, other: FeatureSpec) -> bool:
    """Whether an image seen by both through one cut has the same features in both.

    In int8 it has not: the scales of all layers follow from the images and cuts of the entry.
    """
    whole_set = {"data", "limit_per_class", "bad_images", "cuts"}
    return set(one.differences(other)) <= (set() if one.precision.startswith("int8") else whole_set)


def stored_images(root: Path) -> set[bytes]:
    """Digests of all images that a sealed entry has features of, which hence can be decoded.

    Args:
        root: Folder of the store.
    """
    digests = set[bytes]()
    for path in Path(root).glob(f"*/{SEALED}"):
        with suppress(CacheError), FeatureFile(path) as features:
            digests.update(digest.tobytes() for digest in features.image_digests)
    return digests


@dataclass
class Donation:
    """What other entries give to a new one.

    Attributes:
        cuts: All cuts of the new entry.
        source: Per cut `(rows,)` int64: number of the donor that has the row, or -1.
        position: Per cut `(rows,)` int64: the row's number there.
        donors: The donors, open.
    """

    cuts: tuple[str, ...]
    source: Mapping[str, np.ndarray]
    position: Mapping[str, np.ndarray]
    donors: list[FeatureFile] = field(default_factory=list)

    @classmethod
    def none(cls, num_rows: int, cuts: tuple[str, ...]) -> "Donation":
        """Nothing given: all rows of all cuts have to be run."""
        nowhere = {cut: np.full(num_rows, -1) for cut in cuts}
        return cls(cuts, nowhere, nowhere)

    @cached_property
    def must_run(self) -> np.ndarray:
        """`(rows,)` bool: whether a row lacks at least one cut."""
        return np.any([source < 0 for source in self.source.values()], axis=0)

    @cached_property
    def cuts_to_run(self) -> tuple[str, ...]:
        """The cuts that at least one row lacks; the backbone is run up to these only."""
        return tuple(cut for cut in self.cuts if np.any(self.source[cut] < 0))

    def fill(self, start: int, buffer: Mapping[str, np.ndarray]) -> None:
        """Fills in what the backbone was not run for.

        Args:
            start: Row number of the buffer's first row.
            buffer: Per cut `(rows, ...)`; rows that were run are left as they are, so that a row
                has all its new cuts from one run.

        Raises:
            CacheError: If a donor was damaged since it was looked through.
        """
        for cut, values in buffer.items():
            source = self.source[cut][start : start + len(values)]
            position = self.position[cut][start : start + len(values)]
            run = np.zeros(len(values), bool)
            if cut in self.cuts_to_run:
                run = self.must_run[start : start + len(values)]
            for number, donor in enumerate(self.donors):
                given = np.flatnonzero((source == number) & ~run)
                if len(given):
                    values[given] = _rows_of(donor, cut, position[given])


def _rows_of(donor: FeatureFile, cut: str, rows: np.ndarray) -> np.ndarray:
    # Two images of the same content have one row there.
    wanted, back = np.unique(rows, return_inverse=True)
    try:
        return donor.read_sound_rows(cut, wanted)[back]
    except CacheError as error:
        raise CacheError(
            f"{donor.path} was damaged while it was read; run the same command again"
        ) from error


def find_donation(
    root: Path,
    spec: FeatureSpec,
    image_digests: np.ndarray,
    cuts: Sequence[str],
    opened: ExitStack,
) -> Donation:
    """Looks for rows of a new entry in the entries that exist.

    Args:
        root: Folder of the store.
        spec: Of the new entry.
        image_digests: `(rows, 32)` uint8, the sha256 of each image; zeros match nothing.
        cuts: Names of the layers of the new entry.
        opened: Closes the donors in the end.

    Returns:
        The donation; only rows whose checksums are right are in it.
    """
    donors: list[FeatureFile] = []
    source = {cut: np.full(len(image_digests), -1) for cut in cuts}
    position = {cut: np.full(len(image_digests), -1) for cut in cuts}
    known = [digest.tobytes() for digest in image_digests]
    unknown = np.array([not any(digest) for digest in known])
    for donor in _candidates(root, spec):
        shared = [cut for cut in cuts if cut in donor.cuts]
        rows = {digest.tobytes(): row for row, digest in enumerate(donor.image_digests)}
        found = np.array([rows.get(digest, -1) for digest in known])
        found[unknown] = -1
        gave = False
        for cut in shared:
            wanted = np.flatnonzero((source[cut] < 0) & (found >= 0))
            if len(wanted):
                sound = sound_rows(donor, cut)
                wanted = wanted[sound[found[wanted]]]
                source[cut][wanted] = len(donors)
                position[cut][wanted] = found[wanted]
                gave = gave or bool(len(wanted))
        if gave:
            donors.append(opened.enter_context(donor))
        else:
            donor.close()
    return Donation(tuple(cuts), source, position, donors)


def _candidates(root: Path, spec: FeatureSpec) -> Iterator[FeatureFile]:
    files = [path for name in (SEALED, DAMAGED) for path in Path(root).glob(f"*/{name}")]
    for path in sorted(files):
        try:
            donor = FeatureFile(path)
        except CacheError:
            continue  # too damaged to give anything
        try:
            usable = same_but_for_images_and_cuts(donor.spec, spec) and len(donor.image_digests)
        except CacheError:
            usable = False
        if usable:
            yield donor
        else:
            donor.close()

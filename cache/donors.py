"""Rows that other entries of the store have already: found by spec, cut and image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from cache.errors import CacheError
from cache.parts import PARTS
from cache.reader import SEALED, FeatureFile
from cache.spec import FeatureSpec
from cache.unfinished import UnfinishedFile
from cache.verify import sound_rows

Donor = FeatureFile | UnfinishedFile

DAMAGED = "damaged.h5"
"""Name of a feature file that is being mended: its sound rows are given to its successor."""


def same_but_for_images_and_cuts(one: FeatureSpec, other: FeatureSpec) -> bool:
    """Whether an image seen by both through one cut has the same features in both.

    In int8 it has not: the scales of all layers follow from the images and cuts of the entry.
    """
    whole_set = {"data", "limit_per_class", "bad_images", "cuts"}
    return set(one.differences(other)) <= (set() if one.precision.startswith("int8") else whole_set)


def can_give(donor: FeatureSpec, spec: FeatureSpec) -> bool:
    """Whether rows of one entry are those of another: float32 can be rounded to float16 here."""
    if (donor.dtype, spec.dtype) == ("float32", "float16"):
        donor = replace(donor, dtype=spec.dtype)
    return same_but_for_images_and_cuts(donor, spec)


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
        bad: Rows whose image a donor of the same images has set aside, with the reason.
    """

    cuts: tuple[str, ...]
    source: Mapping[str, np.ndarray]
    position: Mapping[str, np.ndarray]
    donors: list[Donor] = field(default_factory=list)
    bad: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def none(cls, num_rows: int, cuts: tuple[str, ...]) -> "Donation":
        """Nothing given: all rows of all cuts have to be run."""
        nowhere = {cut: np.full(num_rows, -1) for cut in cuts}
        return cls(cuts, nowhere, nowhere)

    @cached_property
    def must_run(self) -> np.ndarray:
        """`(rows,)` bool: whether a row lacks at least one cut."""
        return np.any([self._lacks(cut) for cut in self.cuts], axis=0)

    @cached_property
    def cuts_to_run(self) -> tuple[str, ...]:
        """The cuts that at least one row lacks; the backbone is run up to these only."""
        return tuple(cut for cut in self.cuts if np.any(self._lacks(cut)))

    def _lacks(self, cut: str) -> np.ndarray:
        """`(rows,)` bool; a bad image lacks nothing that there is."""
        lacks = self.source[cut] < 0
        lacks[list(self.bad)] = False
        return lacks

    def fill(self, start: int, buffer: Mapping[str, np.ndarray]) -> None:
        """Fills in what the backbone was not run for.

        Args:
            start: Row number of the buffer's first row.
            buffer: Per cut `(rows, ...)`; rows that were run are left as they are, so that a row
                has all its new cuts from one run.

        Raises:
            CacheError: If a donor was damaged since it was looked through, or a value is too large
                for the buffer.
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
                    values[given] = _fitting(_rows_of(donor, cut, position[given]), values, cut)


def _fitting(rows: np.ndarray, buffer: np.ndarray, cut: str) -> np.ndarray:
    """Rows as a buffer holds them."""
    if rows.dtype == buffer.dtype:
        return rows
    largest, limit = np.abs(rows).max(), np.finfo(buffer.dtype).max
    if largest > limit:
        raise CacheError(
            f"features of {cut!r} reach {largest:g}, {buffer.dtype} holds at most {limit:g}; "
            "store them with --storage float32"
        )
    return rows.astype(buffer.dtype)


def _rows_of(donor: Donor, cut: str, rows: np.ndarray) -> np.ndarray:
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
    ids: Sequence[str],
    image_digests: np.ndarray,
    cuts: Sequence[str],
    opened: ExitStack,
) -> Donation:
    """Looks for rows of a new entry in the entries that exist.

    Args:
        root: Folder of the store.
        spec: Of the new entry.
        ids: One per row.
        image_digests: `(rows, 32)` uint8, the sha256 of each image; zeros match nothing.
        cuts: Names of the layers of the new entry.
        opened: Closes the donors in the end.

    Returns:
        The donation; only rows whose checksums are right are in it.
    """
    donors: list[Donor] = []
    bad: dict[int, str] = {}
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
                sound = _sound_rows(donor, cut)
                wanted = wanted[sound[found[wanted]]]
                source[cut][wanted] = len(donors)
                position[cut][wanted] = found[wanted]
                gave = gave or bool(len(wanted))
        if spec.bad_images == "skip" and donor.spec.data == spec.data:
            reasons = _set_aside(donor)
            bad |= {row: reasons[id] for row, id in enumerate(ids) if id in reasons}
        if gave:
            opened.enter_context(donor)
            donors.append(donor)
        else:
            donor.close()
    return Donation(tuple(cuts), source, position, donors, bad)


def _sound_rows(donor: Donor, cut: str) -> np.ndarray:
    return donor.sound_rows(cut) if isinstance(donor, UnfinishedFile) else sound_rows(donor, cut)


def _set_aside(donor: Donor) -> dict[str, str]:
    """Ids and reasons of the images that a sealed donor has no rows of, as far as it can say."""
    if isinstance(donor, FeatureFile):
        with suppress(CacheError):  # rows of a damaged file are sound all the same
            return dict(donor.skipped)
    return {}


def _candidates(root: Path, spec: FeatureSpec) -> Iterator[Donor]:
    """Sealed entries before those that are not."""
    files = [path for name in (SEALED, DAMAGED) for path in Path(root).glob(f"*/{name}")]
    parts = Path(root).glob(f"*/{PARTS}")
    unfinished = [path for path in parts if not (path.parent / SEALED).exists()]
    for path in sorted(files) + sorted(unfinished):
        try:
            donor: Donor = UnfinishedFile(path.parent) if path.name == PARTS else FeatureFile(path)
        except CacheError:
            continue  # too damaged to give anything
        try:
            usable = (
                can_give(donor.spec, spec)
                # Its own parts are found as such.
                and not (isinstance(donor, UnfinishedFile) and donor.spec == spec)
                and len(donor.image_digests)
            )
        except CacheError:
            usable = False
        if usable:
            yield donor
        else:
            donor.close()

"""Rows that other entries of the store have already: found by spec, cut and image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path

import numpy as np

from cache.digest_index import DigestIndex
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


def are_stored(root: Path, image_digests: np.ndarray) -> np.ndarray:
    """Which images some sealed entry has features of, so that they can be decoded.

    Args:
        root: Folder of the store.
        image_digests: `(rows, 32)` uint8, the sha256 of each.

    Returns:
        `(rows,)` bool.
    """
    stored = np.zeros(len(image_digests), bool)
    index = DigestIndex(image_digests)
    for path in Path(root).glob(f"*/{SEALED}"):
        with suppress(CacheError), FeatureFile(path) as features:
            stored |= index.find(features.digest_blocks()) >= 0
    return stored


@dataclass
class Donation:
    """What other entries give to a new one.

    Attributes:
        cuts: All cuts of the new entry.
        source: Per cut `(rows,)` int16: number of the donor that has the row, or -1.
        donors: The donors, open.
        positions: Per donor `(rows,)` int64: the number that each row has there, or -1.
        bad: Rows whose image a donor of the same images has set aside, with the reason.
    """

    cuts: tuple[str, ...]
    source: dict[str, np.ndarray]
    donors: list[Donor] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)

    @classmethod
    def none(cls, num_rows: int, cuts: tuple[str, ...]) -> "Donation":
        """Nothing given: all rows of all cuts have to be run."""
        return cls(cuts, dict.fromkeys(cuts, np.full(num_rows, -1, np.int16)))

    def take(self, donor: Donor, positions: np.ndarray) -> bool:
        """Has a donor give the rows that it holds sound and no other one gives.

        Args:
            donor: Open, and to be left open if it gives any.
            positions: `(rows,)` int64: the number that each row has there, or -1.

        Returns:
            Whether it gives any.
        """
        gives = False
        for cut in set(self.cuts) & {*donor.cuts}:
            wanted = np.flatnonzero((self.source[cut] < 0) & (positions >= 0))
            if len(wanted):
                wanted = wanted[_sound_rows(donor, cut)[positions[wanted]]]
            if len(wanted):
                self.source[cut] = self.source[cut].copy()  # one array until something is given
                self.source[cut][wanted] = len(self.donors)
                gives = True
        if gives:
            self.donors.append(donor)
            self.positions.append(positions)
        return gives

    @cached_property
    def must_run(self) -> np.ndarray:
        """`(rows,)` bool: whether a row lacks at least one cut."""
        return reduce(np.logical_or, map(self._lacks, self.cuts))

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
            run = np.zeros(len(values), bool)
            if cut in self.cuts_to_run:
                run = self.must_run[start : start + len(values)]
            for number, donor in enumerate(self.donors):
                given = np.flatnonzero((source == number) & ~run)
                if len(given):
                    rows = self.positions[number][start + given]
                    values[given] = _fitting(_rows_of(donor, cut, rows), values, cut)


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
    ids: Sequence[str] | np.ndarray,
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
    donation = Donation.none(len(image_digests), tuple(cuts))
    index = DigestIndex(image_digests)
    for donor in _candidates(root, spec):
        if spec.bad_images == "skip" and donor.spec.data == spec.data:
            reasons = _set_aside(donor)
            donation.bad |= {row: reasons[id] for row, id in enumerate(ids) if id in reasons}
        gives = False
        with suppress(CacheError):  # too damaged to say whose rows it has
            gives = donation.take(donor, index.find(donor.digest_blocks()))
        if gives:
            opened.enter_context(donor)
        else:
            donor.close()
    return donation


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
        is_its_own = isinstance(donor, UnfinishedFile) and donor.spec == spec  # found as such
        if can_give(donor.spec, spec) and not is_its_own:
            yield donor
        else:
            donor.close()

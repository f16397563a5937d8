"""One look at the pixels of all images: hashes, sizes, and what is wrong with each."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from pipelines.auditing.findings import Finding
from pipelines.bad_images import refusal
from pipelines.progress import progress
from transfer.auditing.duplicates import LOOKS_LIKE, Twins, find_twins
from transfer.auditing.image_quality import FEW_LEVELS, LOOKED_AT, Quality, faults_of, look_at
from transfer.auditing.neighbours import Neighbours
from transfer.auditing.perceptual_hash import hash_of
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet

NOTES = {
    "blank": "{:.0f} grey levels",
    "dark": "19 of 20 pixels are below {:.0f} of 255",
    "bright": "19 of 20 pixels are above {:.0f} of 255",
    "blurred": "{:.2f} of the detail it could have",
    "tiny": "{:.0f} pixels on its shorter side",
    "odd size": "{:.1f} times as long as wide",
}


SAME_PIXELS = "same pixels as"
"""How one image of a pair is to the other, where only the files differ."""
ALMOST_1 = 0.9999
"""Cosine of features of pairs whose pixels are compared one by one."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of all images.

    Attributes:
        hashes: `(images, 8, 8)` bool, perceptual ones.
        qualities: Of each image.
        sizes: `(images, 2)` int64, heights and widths in pixels.
    """

    hashes: np.ndarray
    qualities: list[Quality]
    sizes: np.ndarray

    @property
    def has_detail(self) -> np.ndarray:
        """`(images,)` bool: whether an image is not blank."""
        return np.array([one.levels >= FEW_LEVELS for one in self.qualities])

    def faults(self) -> list[Finding]:
        """Blank, dark, bright, blurred, tiny and odd-sized images."""
        return [
            Finding(row, kind, value, NOTES[kind].format(value))
            for kind, (rows, values) in faults_of(self.qualities, self.sizes).items()
            for row, value in zip(rows.tolist(), values.tolist(), strict=True)
        ]


def look(images: ImageSet) -> Looks:
    """Decodes all images, large JPEGs at a part of their size.

    Raises:
        InputError: If one cannot be decoded; lists all such.
    """
    hashes, qualities, sizes = [], [], []
    with progress("looking at the pixels", len(images)) as update:
        for row, pixels in images.stream(wanted=(LOOKED_AT // 2, LOOKED_AT // 2)):
            if isinstance(pixels, BadImage):
                raise refusal(images, row + 1, [pixels])
            gray = Image.fromarray(pixels).convert("L")
            hashes.append(hash_of(gray))
            qualities.append(look_at(gray))
            sizes.append(images.size(row))
            update(row + 1)
    return Looks(np.stack(hashes), qualities, np.array(sizes, np.int64))


def find_twins_in(
    images: ImageSet, neighbours: Neighbours, digests: np.ndarray, looks: Looks
) -> Twins:
    """Images that show the same picture, as `find_twins`; says of which all pixels are the same."""
    twins = find_twins(neighbours, digests, looks.hashes, looks.has_detail)
    may_be = (twins.how == LOOKS_LIKE) & (twins.similarity > ALMOST_1)
    how = twins.how.copy()
    for number in np.flatnonzero(may_be).tolist():
        one, other = (images.read(row) for row in twins.pairs[number].tolist())
        if np.array_equal(one, other):
            how[number] = SAME_PIXELS
    return replace(twins, how=how)

"""Says of an image how strange it is to a classifier, by its features and probabilities.

Two things are strange about images of no class that was learned: they are far from every training
image, and the classifier doubts. Either alone misses what the other sees, so both are compared with
those of known images, as normal deviates, and the logarithms of their upper tails are added.

Sources: Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022
(distance); Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", 2020 (doubt);
Fisher, "Statistical Methods for Research Workers", 1932 (the sum). `make bench ARGS=unknown`
measures it.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MOST_BYTES = 4_000_000
"""Of an index, which travels inside the classifier."""
BYTES_OF_ID = 100
"""About as many as the path of an image takes."""
LEAST_ROWS = 100
"""An index that has room for fewer is of no use."""
KNOWN_SHARE = 0.95
"""Of images of known classes that are to count as known."""
SMALLEST = 1e-30
"""Probability; smaller ones come out of a float32 softmax as zero."""
LEAST_SPREAD = 1e-6
"""Standard deviation that is divided by: images that are all alike have none."""


def rows_that_fit(channels: int) -> int:
    """How many images an index has room for; 0 where too few to be of use.

    Args:
        channels: Features of an image.
    """
    rows = MOST_BYTES // (2 * channels + BYTES_OF_ID)
    return rows if rows >= LEAST_ROWS else 0


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What is said of some images.

    Attributes:
        strangeness: `(images,)` float64, at least 0: above 1 an image counts as unknown.
        nearest: `(images, count)` rows of the index, the nearest first.
    """

    strangeness: np.ndarray
    nearest: np.ndarray

    @property
    def unknown(self) -> np.ndarray:
        """`(images,)` bool."""
        return self.strangeness > 1


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Images that were learned from, and how far from them known images usually are.

    Attributes:
        ids: `(rows,)` str, of the images in the index.
        directions: `(rows, channels)` float16, their features as `directions_of` makes them.
        distance: Mean and standard deviation, over known images, of the distance to the nearest
            image other than themselves.
        doubt: Likewise of what `doubt_of` says.
        threshold: The sum of tails above which an image is unknown.
        judges: Known images that set these figures.
    """

    ids: np.ndarray
    directions: np.ndarray
    distance: tuple[float, float]
    doubt: tuple[float, float]
    threshold: float
    judges: int

    def judge(self, probabilities: np.ndarray, features: np.ndarray, count: int = 3) -> Verdicts:
        """Says of images how strange they are, and which images of the index are nearest.

        Args:
            probabilities: `(images, classes)`, as the classifier gives them.
            features: `(images, channels)`, of the cut that the index was made of.
            count: Nearest images to name; fewer where the index has fewer.
        """
        squares = self._squares(features)
        count = min(count, len(self.ids))
        some = np.argpartition(squares, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(squares, some, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(some, order, axis=1)
        distances = np.sqrt(squares.min(axis=1))
        sums = self._sum_of_tails(distances, doubt_of(probabilities))
        return Verdicts(sums / self.threshold, nearest)

    def to_bytes(self) -> bytes:
        """As a member of a classifier's file."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            allow_pickle=False,
            directions=self.directions,
            ids=np.frombuffer(json.dumps(self.ids.tolist()).encode(), np.uint8),
            known=np.array([*self.distance, *self.doubt, self.threshold]),
            judges=np.array(self.judges),
        )
        return file.getvalue()

    @staticmethod
    def from_bytes(content: bytes) -> Knowledge:
        """What `to_bytes` gave."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            ids = np.array(json.loads(file["ids"].tobytes()), object)
            *moments, threshold = file["known"].tolist()
            judges = int(file["judges"])
            distance, doubt = (moments[0], moments[1]), (moments[2], moments[3])
            return Knowledge(ids, file["directions"], distance, doubt, threshold, judges)

    @cached_property
    def _exact(self) -> tuple[np.ndarray, np.ndarray]:
        """Directions in float32, and their squared lengths."""
        directions = self.directions.astype(np.float32)
        return directions, np.square(directions).sum(axis=1)

    def _squares(self, features: np.ndarray) -> np.ndarray:
        """`(images, rows)` squared distances between directions."""
        ours, lengths = self._exact
        given = directions_of(features)
        squares = np.square(given).sum(axis=1)[:, None] + lengths - 2 * given @ ours.T
        return np.maximum(squares, 0)

    def _sum_of_tails(self, distances: np.ndarray, doubts: np.ndarray) -> np.ndarray:
        return _tail(distances, self.distance) + _tail(doubts, self.doubt)


def learn(
    ids: np.ndarray,
    features: np.ndarray,
    judge_ids: np.ndarray,
    judge_features: np.ndarray,
    probabilities: np.ndarray,
) -> Knowledge:
    """Learns what images of known classes look like.

    Args:
        ids: `(rows,)` of the images in the index.
        features: `(rows, channels)` likewise, float.
        judge_ids: `(images,)` of known images that set the threshold; those in the index as well
            do not count as their own neighbours.
        judge_features: `(images, channels)` likewise.
        probabilities: `(images, classes)`, said of these by fits that had not seen them.

    Raises:
        ValueError: If no image sets the threshold, or the index has no image beside it.
    """
    if not len(judge_ids) or len(ids) < 2:
        raise ValueError(
            f"expected images for an index and to judge by, received {len(ids)} and "
            f"{len(judge_ids)}"
        )
    directions = directions_of(features).astype(np.float16)
    blank = Knowledge(ids, directions, (0.0, 1.0), (0.0, 1.0), 1.0, len(judge_ids))
    squares = blank._squares(judge_features)
    squares[judge_ids[:, None] == ids[None]] = np.inf
    distances, doubts = np.sqrt(squares.min(axis=1)), doubt_of(probabilities)
    known = Knowledge(ids, directions, _moments(distances), _moments(doubts), 1.0, len(judge_ids))
    sums = known._sum_of_tails(distances, doubts)
    threshold = float(np.quantile(sums, KNOWN_SHARE, method="higher"))
    return Knowledge(ids, directions, known.distance, known.doubt, threshold, known.judges)


def directions_of(features: np.ndarray) -> np.ndarray:
    """Features with their roots taken, signs kept, and scaled to length 1.

    A root keeps a few large features from deciding alone. One copy is made, and no more.

    Args:
        features: `(images, channels)` float.

    Returns:
        The same shape, float32; zeros where all features are.
    """
    roots = features.astype(np.float32)
    np.copysign(np.sqrt(np.abs(roots, out=roots), out=roots), features, out=roots)
    lengths = np.sqrt(np.einsum("ij,ij->i", roots, roots))
    roots /= np.where(lengths > 0, lengths, 1)[:, None]
    return roots


def doubt_of(probabilities: np.ndarray) -> np.ndarray:
    """The energy of logits that add up to 0, which needs their softmax alone.

    `logsumexp(l - mean(l))` is the mean of `-log(softmax(l))`: that is the energy with its sign
    changed, and what is given here is the energy.

    Args:
        probabilities: `(images, classes)`.

    Returns:
        `(images,)` float64, highest where all classes are as probable.
    """
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)).mean(axis=1)


def _moments(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), max(float(values.std()), LEAST_SPREAD)


def _tail(values: np.ndarray, moments: tuple[float, float]) -> np.ndarray:
    """Minus the logarithm of the share of a normal distribution that lies above."""
    from scipy.special import log_ndtr

    mean, deviation = moments
    return -log_ndtr((mean - values) / deviation)

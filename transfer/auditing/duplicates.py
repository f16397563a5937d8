"""Pictures that are there twice: of the same bytes, or near in features and alike in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transfer.auditing.neighbours import Neighbours
from transfer.auditing.perceptual_hash import POSITIONS, distances

RULES = ((0.55, 6), (0.88, 16))
"""Twins have features of at least this cosine, and hashes that differ in at most so many of 63
bits. The first finds what was resized, recompressed, recoloured, mirrored or turned, the second
what was cropped by some hundredths, or taken from the same place a moment later.
`docs/measured.md` has what they find, and what wrongly."""
SAME_BYTES = "same bytes as"
LOOKS_LIKE = "looks like"
"""How one image of a pair is to the other, in words."""


@dataclass(frozen=True, eq=False)
class Twins:
    """Pairs of images that show the same picture.

    Attributes:
        pairs: `(pairs, 2)` int64 rows, the smaller first, in increasing order.
        similarity: `(pairs,)` float32, cosines of their features; 1 of the same bytes.
        how: `(pairs,)` str: `SAME_BYTES`, `LOOKS_LIKE`, or that with how one lies in front.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    how: np.ndarray


def same_bytes(digests: np.ndarray) -> np.ndarray:
    """Pairs of images with the same digest: each with the next of its kind.

    Args:
        digests: `(images, 32)` uint8, as a feature file has them; zeros say nothing.

    Returns:
        `(pairs, 2)` int64, the smaller first.
    """
    known = np.flatnonzero(digests.any(axis=1))
    _, kinds = np.unique(digests[known], axis=0, return_inverse=True)
    order = np.argsort(kinds.ravel(), kind="stable")
    alike = np.flatnonzero(np.diff(kinds.ravel()[order]) == 0)
    return np.stack([known[order[alike]], known[order[alike + 1]]], axis=1)


def candidates(neighbours: Neighbours, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that may be twins: one is among the nearest of the other, and near enough.

    Returns:
        `(pairs, 2)` int64, the smaller first, each once, in increasing order, and `(pairs,)`
        float32 cosines.
    """
    rows, places = np.nonzero(neighbours.similarity >= least)
    pairs = np.sort(np.stack([rows, neighbours.rows[rows, places]], axis=1), axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return pairs.reshape(-1, 2), neighbours.similarity[rows, places][first]


def find_twins(
    neighbours: Neighbours,
    digests: np.ndarray,
    hashes: np.ndarray,
    has_detail: np.ndarray,
) -> Twins:
    """Finds images that show the same picture.

    Args:
        neighbours: Of all images, by features.
        digests: `(images, 32)` uint8 of their bytes.
        hashes: `(images, 8, 8)` bool, perceptual ones.
        has_detail: `(images,)` bool: whether there is anything in it that a hash could tell.
    """
    exact = same_bytes(digests)
    pairs, similarity = candidates(neighbours, min(least for least, _ in RULES))
    differing, positions = distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]])
    near = np.zeros(len(pairs), bool)
    for least, bits in RULES:
        near |= (similarity >= least) & (differing <= bits)
    near &= has_detail[pairs].all(1)
    # Those of the same bytes are known already.
    of_both = digests[pairs]
    near &= (of_both[:, 0] != of_both[:, 1]).any(1) | ~of_both[:, 0].any(1)
    words = np.array([_in_words(position) for position in POSITIONS], object)[positions[near]]
    pairs = np.concatenate([exact, pairs[near]])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    similarity = np.concatenate([np.ones(len(exact), np.float32), similarity[near]])
    how = np.concatenate([np.full(len(exact), SAME_BYTES, object), words])
    return Twins(pairs[order], similarity[order], how[order])


def _in_words(position: str) -> str:
    return f"{position}, {LOOKS_LIKE}" if position else LOOKS_LIKE


def clusters(pairs: np.ndarray, images: int) -> list[np.ndarray]:
    """Images that pairs lead from one to another.

    Args:
        pairs: `(pairs, 2)` integers.
        images: Number of all.

    Returns:
        Increasing rows of each cluster of two and more, those with the least rows first.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(images, images))
    _, labels = connected_components(links, directed=False)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))

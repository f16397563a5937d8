"""A candidate's features in coordinates in which its fits are quick, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transfer.heads.standardised import Spectrum, leading

MOST_SAMPLES = 1500
"""Whose products with one another are decomposed."""
NEGLIGIBLE = 1e-7
"""Eigenvalue, as a share of the largest, that is rounding."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a linear model is fitted to.

    Attributes:
        features: `(samples, coordinates)` float32.
        scales: `(coordinates,)` factors of the features; None for 1.
        spectrum: Of the features, times the scales.
        kernel: Turns weights `(coordinates, n)` into weights `(num_features, n)` of the
            standardised features.
    """

    features: np.ndarray
    scales: np.ndarray | None
    spectrum: Spectrum
    kernel: Callable[[np.ndarray], np.ndarray]


class Products:
    """Products of all samples with one another, cut by cut, of which every candidate's are sums.

    Args:
        features: `(samples, num_features)` float32, standardised.
        widths: Features of each cut.
    """

    def __init__(self, features: np.ndarray, widths: tuple[int, ...]) -> None:
        self._features, self._widths = features, widths
        ends = np.cumsum(widths).tolist()
        cuts = [features[:, end - width : end] for width, end in zip(widths, ends, strict=True)]
        self._of_cuts = [(cut @ cut.T).astype(np.float64) for cut in cuts]

    def problem(self, weights: np.ndarray) -> Problem:
        """Rows in at most as many coordinates as there are: no other direction changes a fit.

        Args:
            weights: `(cuts,)` factors of the cuts' products.
        """
        from scipy.linalg import eigh

        pairs = zip(weights, self._of_cuts, strict=True)
        products = sum(weight * product for weight, product in pairs if weight)
        eigenvalues, vectors = eigh(products, overwrite_a=True, check_finite=False, driver="evd")
        kept = eigenvalues > NEGLIGIBLE * eigenvalues[-1]
        roots, vectors = np.sqrt(eigenvalues[kept]), vectors[:, kept]
        of_columns = np.repeat(weights, self._widths)

        def kernel(coordinates: np.ndarray) -> np.ndarray:
            of_samples = vectors @ (coordinates / roots[:, None])
            return of_columns[:, None] * (self._features.T @ of_samples)

        spectrum = Spectrum(eigenvalues[kept], None, np.zeros(len(roots)))
        return Problem((vectors * roots).astype(np.float32), None, spectrum, kernel)


def in_columns(features: np.ndarray, of_columns: np.ndarray) -> Problem:
    """All rows, as they are: for more of them than `Products` can take.

    Args:
        features: `(samples, columns)` float32, standardised: the last of all; not copied.
        of_columns: `(num_features,)` factors of the products of all columns; 0 in front of those
            that are seen.
    """
    first = int(np.argmax(of_columns > 0))
    seen = features[:, first - len(of_columns) :]
    scales = np.sqrt(of_columns[first:])

    def kernel(weights: np.ndarray) -> np.ndarray:
        return np.pad(scales[:, None] * weights, ((first, 0), (0, 0)))

    return Problem(seen, scales, leading(seen, scales), kernel)

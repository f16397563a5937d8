"""Features in two dimensions, for people to look at."""

from __future__ import annotations

import numpy as np

from transfer.knowing.knowledge import directions_of

COMPONENTS = 50
"""Principal components that neighbours are looked for in; more are mostly noise and time.

Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008, section 4.2 (30).
"""
PERPLEXITY = 30.0
"""About how many neighbours an image is drawn to, as there."""
STEPS = 500
"""Of the descent: enough to look at, in half the time of scikit-learn's 1,000."""
LEAST = 8
"""Images; of fewer a map says nothing."""


def principal_components(features: np.ndarray) -> np.ndarray:
    """Directions of features along the axes in which they differ most.

    Args:
        features: `(images, channels)`.

    Returns:
        `(images, components)` float64, at most `COMPONENTS`, those with the largest variance first.
    """
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *features.shape)
    return PCA(count, random_state=0).fit_transform(directions_of(features).astype(np.float64))


def neighbours_map(components: np.ndarray) -> np.ndarray:
    """A map in which images lie near those that are near them, by t-SNE.

    Distances between groups, and their sizes, say nothing.

    Args:
        components: `(images, components)` from `principal_components`.

    Returns:
        `(images, 2)` float64.
    """
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0, n_jobs=-1)
    return method.fit_transform(components)

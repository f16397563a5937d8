"""What heads are trained or judged on: features, labels, and how many views an image has."""

from dataclasses import dataclass

import numpy as np

from transfer.heads.features import Features


@dataclass(frozen=True, eq=False)
class Samples:
    """What heads are trained or judged on.

    Attributes:
        features: `(samples, ...)`: an array, or features that stay on disk. The views of one
            image follow one another.
        labels: `(samples,)` int64.
        views: Samples per image.
    """

    features: Features
    labels: np.ndarray
    views: int = 1

    @property
    def image_labels(self) -> np.ndarray:
        """`(images,)` int64."""
        return self.labels[:: self.views]

    def mean_over_views(self, outputs: np.ndarray) -> np.ndarray:
        """Averages outputs over the views of each image.

        Args:
            outputs: `(samples, outputs)` float.

        Returns:
            `(images, outputs)` float.
        """
        return mean_over_views(outputs, self.views)


def mean_over_views(outputs: np.ndarray, views: int) -> np.ndarray:
    """`(images * views, outputs)`, the views of an image in a row, to `(images, outputs)`."""
    return outputs.reshape(-1, views, outputs.shape[-1]).mean(1)

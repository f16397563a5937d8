"""What a head is chosen on: images, their features, and which of them judge which fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from transfer.errors import InputError


@dataclass(frozen=True, eq=False)
class Rows:
    """Images to choose a head on.

    Attributes:
        features: `(samples, num_features)` float16 or float32, the views of an image in a row and
            cuts side by side, from the input towards the top.
        labels: `(images,)` integers.
        num_classes: Number of classes.
        widths: Features of each cut; they add up to `num_features`.
        folds: `(images,)` integers: the fold that an image judges, from 0, or -1 for none.
        training: `(images,)` bool: the images of the training split, by which fine-tuning starts.
        final: `(images,)` bool: the images that the head is fitted to in the end.
        holdout: Whether the images outside the training split judge, and not the folds.
        views: Samples per image.
        channels: Of the last axis, where features have positions: those share their statistics.
    """

    features: np.ndarray
    labels: np.ndarray
    num_classes: int
    widths: tuple[int, ...]
    folds: np.ndarray
    training: np.ndarray
    final: np.ndarray
    holdout: bool = False
    views: int = 1
    channels: int | None = None

    def __post_init__(self) -> None:
        """Refuses rows that do not belong together.

        Raises:
            ValueError: If shapes do not fit.
            InputError: If no image judges, or features are not finite.
        """
        images = len(self.labels)
        expected = [(images * self.views, sum(self.widths)), *[(images,)] * 3]
        given = (self.features, self.folds, self.training, self.final)
        received = [each.shape for each in given]
        if expected != received:
            raise ValueError(
                f"expected features, folds, training and final of shapes {expected}, "
                f"received {received}"
            )
        if not len(self.judging):
            raise InputError(
                "choosing a head expects classes of two images and more, received none; add images"
            )

    @cached_property
    def judge(self) -> np.ndarray:
        """`(images,)` number of the fit that has not seen an image and is judged by it, or -1."""
        return np.where(self.training, -1, 0) if self.holdout else self.folds

    @cached_property
    def judging(self) -> np.ndarray:
        """`(judging images,)` numbers of the images that judge."""
        return np.flatnonzero(self.judge >= 0)

    @cached_property
    def learning(self) -> np.ndarray:
        """`(images, fits)` bool: which images each of the judged fits learns from."""
        fits = np.arange(self.judge.max(initial=-1) + 1)
        may_be_learned = self.training if self.holdout else self.final
        return may_be_learned[:, None] & (self.judge[:, None] != fits)

    @property
    def learned(self) -> int:
        """How many images a judged fit learns from, the mean over fits."""
        return round(float(self.learning.sum(0).mean()))

    def targets(self, learning: np.ndarray) -> np.ndarray:
        """Labels for fits that learn from a sample, -1 for those that do not.

        Args:
            learning: `(images, fits)` bool.

        Returns:
            `(samples, fits)`.
        """
        return np.repeat(np.where(learning, self.labels[:, None], -1), self.views, axis=0)

    def out_of_fold(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of the judging images alone, each by the fit that has not seen it.

        Args:
            outputs: `(samples, fits, classes)`.

        Returns:
            `(judging images, views, classes)`.
        """
        by_image = outputs.reshape(len(self.labels), self.views, *outputs.shape[1:])
        return by_image[self.judging, :, self.judge[self.judging]]

    def some(self, images: np.ndarray) -> Rows:
        """The same for some of the images."""
        samples = (images[:, None] * self.views + np.arange(self.views)).ravel()
        return replace(
            self,
            features=self.features[samples],
            labels=self.labels[images],
            folds=self.folds[images],
            training=self.training[images],
            final=self.final[images],
        )

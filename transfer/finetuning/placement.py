"""Moving and enlarging images at random, in one resampling: quicker and sharper than in two."""

from typing import Any

import keras
from keras import ops


class RandomPlacement(keras.layers.Layer):
    """Moves each image and cuts its edges away; what comes in from beyond an edge is reflected.

    Args:
        shift: An image moves by up to this share of the height and width.
        crop: Up to this share of the height and width is cut away, and the rest enlarged.
        seed: The same seed draws the same changes.
    """

    def __init__(self, shift: float, crop: float, seed: int) -> None:
        super().__init__(dtype="float32")
        self.shift, self.crop, self.seed = shift, crop, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Changes `(batch, H, W, 3)` float32 pixels where something is learned."""
        if not training:
            return images
        batch, height, width = ops.shape(images)[:3]
        drawn = keras.random.uniform((3, batch), seed=self.seed_generator)
        kept = 1 - self.crop * drawn[0]
        # Where the corner of a new image lies in the old one.
        left, above = (
            (1 - kept) * (side - 1) / 2 + self.shift * side * (2 * share - 1)
            for side, share in ((width, drawn[1]), (height, drawn[2]))
        )
        none = ops.zeros_like(kept)
        # Rows of x and y, then those of a change of perspective.
        places = ops.stack([kept, none, left, none, kept, above, none, none], axis=1)
        return ops.image.affine_transform(images, places, "bilinear", "reflect")

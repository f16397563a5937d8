"""Random changes to training images, as Keras layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transfer.errors import InputError, check_range

if TYPE_CHECKING:
    import keras

LEAST_ALPHA = 0.05
"""Below it float32 cannot hold what Keras divides to draw from a Beta distribution: on TensorFlow
many images would be mixed half and half, the opposite of what a small alpha asks for."""
MOST_OPERATIONS = 10


@dataclass(frozen=True)
class AugmentOptions:
    """How much training images are changed; 0 or False switches a change off."""

    flip: bool = True
    """Mirror left and right."""
    shift: float = 0.1
    """Move by up to this share of the height and width."""
    crop: float = 0.1
    """Cut away up to this share of the height and width, and enlarge the rest."""
    colour: float = 0.1
    """Change brightness and contrast by up to this share."""
    erase: float = 0.0
    """Share of the images in which a random rectangle is replaced by noise."""
    random_augment: int = 0
    """Apply so many operations, drawn for each batch out of eleven: turning, shearing, moving,
    sharpness, contrast, colours and others (RandAugment); 2 is usual."""
    mixup: float = 0.0
    """Blend each image and its label with another of the batch; the shares are drawn from a Beta
    distribution with this alpha, from 0.05 (mostly one of the two) to 1 (any share); 0.2 is
    usual."""
    cutmix: float = 0.0
    """Paste a rectangle of another image of the batch into each, and its label by the share of the
    pixels; the shares are drawn as for mixup; 1 is usual."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        check_range(self, "a share from 0 up to 1", "shift", "crop", "colour")
        if not 0 <= self.erase <= 1:
            raise InputError(f"--erase expects a share from 0 to 1, received {self.erase}")
        if not 0 <= self.random_augment <= MOST_OPERATIONS:
            raise InputError(
                f"--random-augment expects a number from 0 to {MOST_OPERATIONS}, "
                f"received {self.random_augment}"
            )
        for name in ("mixup", "cutmix"):
            alpha = getattr(self, name)
            if alpha != 0 and not LEAST_ALPHA <= alpha <= 1:
                raise InputError(
                    f"--{name} expects 0 or an alpha from {LEAST_ALPHA} to 1, received {alpha}"
                )


def augmentation_layers(options: AugmentOptions, seed: int) -> list["keras.layers.Layer"]:
    """Layers that change each image by itself.

    Args:
        options: Which changes.
        seed: The same seed draws the same changes; each layer draws others.

    Returns:
        Layers over float32 `(batch, H, W, 3)` pixels, 0-255 RGB; identities outside training.
    """
    from keras import layers

    from transfer.finetuning.placement import RandomPlacement

    # A dtype policy that somebody else has set must not reach the pixels.
    exact = {"dtype": "float32"}
    chosen: list[layers.Layer] = []
    if options.flip:
        chosen.append(layers.RandomFlip("horizontal", seed=seed, **exact))
    if options.shift or options.crop:
        chosen.append(RandomPlacement(options.shift, options.crop, seed + 1))
    if options.colour:
        chosen.append(layers.RandomBrightness(options.colour, (0, 255), seed=seed + 3, **exact))
        chosen.append(layers.RandomContrast(options.colour, (0, 255), seed=seed + 4, **exact))
    if options.random_augment:
        chosen.append(_random_operations(options.random_augment, seed + 5))
    if options.erase:
        # One number would be the upper end of a range that the probability is drawn from.
        probability = (options.erase, options.erase)
        chosen.append(layers.RandomErasing(probability, seed=seed + 6, **exact))
    return chosen


def mixing_layers(options: AugmentOptions, seed: int) -> list["keras.layers.Layer"]:
    """Layers that mix the images of a batch with one another, and their labels alike.

    Where both are asked for, MixUp comes first and CutMix cuts what it has blended.

    Args:
        options: Which changes.
        seed: The same seed draws the same changes; each layer draws others, and others than
            those of `augmentation_layers`.

    Returns:
        Layers that take and return a dict of `images`, float32 `(batch, H, W, 3)`, 0-255 RGB, and
        `labels`, float32 `(batch, classes)`, probabilities; identities outside training.
    """
    from keras import layers

    chosen: list[layers.Layer] = []
    if options.mixup:
        chosen.append(layers.MixUp(options.mixup, seed=seed + 7, dtype="float32"))
    if options.cutmix:
        # One number would be the upper end of a range that alpha is drawn from.
        alpha = (options.cutmix, options.cutmix)
        chosen.append(layers.CutMix(alpha, seed=seed + 8, dtype="float32"))
    return chosen


def _random_operations(number: int, seed: int) -> "keras.layers.Layer":
    """RandAugment without what destroys an image.

    Its one `factor` is another strength in each operation: 0.2 moves by up to a fifth, but turns
    by up to 72 degrees, always the same way, keeps one bit of each colour, and inverts nearly all
    pixels. These three get the ranges of AutoAugment, on which RandAugment builds.
    Source: https://arxiv.org/abs/1805.09501, table 6.
    """
    from keras import layers

    augment = layers.RandAugment((0, 255), number, factor=0.2, seed=seed, dtype="float32")
    augment.random_rotation = layers.RandomRotation(30 / 360, seed=seed, dtype="float32")
    augment.random_posterization = layers.RandomPosterization(
        (4, 8), (0, 255), seed=seed, dtype="float32"
    )
    augment.solarization = layers.Solarization(
        threshold_factor=1.0, value_range=(0, 255), seed=seed, dtype="float32"
    )
    return augment

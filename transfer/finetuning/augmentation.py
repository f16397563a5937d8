"""Random changes to training images, as Keras layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transfer.errors import InputError

if TYPE_CHECKING:
    import keras


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

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        for name in ("shift", "crop", "colour"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"--{name} expects a share from 0 up to 1, received {getattr(self, name)}"
                )


def augmentation_layers(options: AugmentOptions, seed: int) -> list["keras.layers.Layer"]:
    """Layers over float32 `(batch, H, W, 3)` pixels, 0-255 RGB; identities outside training."""
    import keras

    layers: list[keras.layers.Layer] = []
    if options.flip:
        layers.append(keras.layers.RandomFlip("horizontal", seed=seed))
    if options.shift:
        layers.append(
            keras.layers.RandomTranslation(
                options.shift, options.shift, fill_mode="reflect", seed=seed + 1
            )
        )
    if options.crop:
        layers.append(
            keras.layers.RandomZoom((-options.crop, 0.0), fill_mode="reflect", seed=seed + 2)
        )
    if options.colour:
        layers.append(keras.layers.RandomBrightness(options.colour, (0, 255), seed=seed + 3))
        layers.append(keras.layers.RandomContrast(options.colour, (0, 255), seed=seed + 4))
    return layers

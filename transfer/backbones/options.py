"""What is to be known of a backbone before it is built."""

from dataclasses import dataclass, replace
from typing import Literal

from transfer.backbones.table import find_backbone
from transfer.backbones.views import check_views
from transfer.errors import InputError


@dataclass(frozen=True)
class BackboneOptions:
    """Which frozen network, with which weights, seen where."""

    backbone: str = "MobileNetV2"
    """A model of keras.applications, or EfficientNetLite0, 1 or 2."""
    weights: str = "imagenet"
    """imagenet, none (random), or a .h5, .weights.h5 or .keras file; for EfficientNetLite
    also .pth."""
    weights_seed: int = 0
    """Seed of the random weights where weights is none."""
    alpha: float = 1.0
    """Width multiplier; MobileNet, MobileNetV2 and MobileNetV3 only."""
    image_size: int | None = None
    """Side in pixels of the square images the backbone sees; by default its own."""
    cut: tuple[str, ...] = ()
    """Layers whose outputs become features; blocks is the family's list and the top, top the
    last feature map. By default blocks for EfficientNetLite and MobileNetV2, for others top."""
    pooling: Literal["avg", "max", "flatten", "none"] = "avg"
    """How a spatial cut becomes a vector; none keeps it spatial."""
    views: tuple[str, ...] = ("identity",)
    """How each image is seen, once per view: identity, flip (mirrored), or crops center, top-left,
    top-right, bottom-left, bottom-right, each also mirrored, as in center+flip. Commas work, too;
    time and features grow with their number."""

    def __post_init__(self) -> None:
        """Splits views at commas and refuses unknown ones."""
        object.__setattr__(self, "views", check_views(self.views))

    def resolved_image_size(self) -> tuple[int, int]:
        """`(height, width)` in pixels.

        Raises:
            InputError: If it is below the backbone's minimum, or the backbone is unknown.
        """
        row = find_backbone(self.backbone)
        side = row.image_size if self.image_size is None else self.image_size
        if side < row.min_image_size:
            raise InputError(
                f"image_size: {row.name} needs at least {row.min_image_size} pixels a side, "
                f"received {side}"
            )
        return side, side

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Names of options that change nothing, given the others."""
        return () if self.weights == "none" else ("weights_seed",)

    def effective(self) -> "BackboneOptions":
        """Options of the same network, equal to those of any other that is the same.

        Options without effect have their defaults, the backbone its own name, and the image size is
        said. Cuts stay as they are: `cut_patterns` says what they mean.

        Raises:
            InputError: As `resolved_image_size`.
        """
        defaults = {name: getattr(BackboneOptions, name) for name in self.without_effect}
        side, _ = self.resolved_image_size()
        name = find_backbone(self.backbone).name
        return replace(self, **defaults, backbone=name, image_size=side)

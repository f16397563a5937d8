"""The table of backbones; a cache hit and `--help` read it without Keras."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from transfer.errors import InputError


@dataclass(frozen=True)
class Backbone:
    """One row of the table.

    Attributes:
        name: As keras.applications spells it, or `EfficientNetLite0` to `2`.
        family: Module of keras.applications, or `efficientnet_lite`.
        preprocessing: A kind of `transfer.backbones.preprocessing.PREPROCESSINGS`.
        image_size: Side in pixels of the square images that the ImageNet weights were made for.
        min_image_size: Smallest side in pixels that works without the top.
        num_features: Channels of the top, at alpha 1.
        block_cuts: Regular expressions over layer names: the family's list behind `blocks`.
        has_alpha: Whether the family has a width multiplier.
    """

    name: str
    family: str
    preprocessing: str
    image_size: int
    min_image_size: int
    num_features: int
    block_cuts: tuple[str, ...]
    has_alpha: bool


def _family(
    family: str,
    preprocessing: str,
    block_cuts: tuple[str, ...],
    members: Mapping[str, tuple[int, int]],
    min_image_size: int = 32,
    has_alpha: bool = False,
) -> list[Backbone]:
    """Rows of one family; `members` maps names to image size and number of features."""
    return [
        Backbone(
            name, family, preprocessing, size, min_image_size, num_features, block_cuts, has_alpha
        )
        for name, (size, num_features) in members.items()
    ]


# Inverted residuals are cut at their widest, in front of the projection: the same pass gave better
# features there than behind it (block sums) or before the depthwise convolution, early blocks
# included. Source of the place: timm's feature_location="expansion". Where a family has many more
# blocks than stages, the list takes some of each stage.
_ROWS = [
    *_family(
        "convnext",
        "none",
        (r"add(_\d+)?",),
        {
            "ConvNeXtTiny": (224, 768),
            "ConvNeXtSmall": (224, 768),
            "ConvNeXtBase": (224, 1024),
            "ConvNeXtLarge": (224, 1536),
            "ConvNeXtXLarge": (224, 2048),
        },
    ),
    *_family(
        "densenet",
        "torch",
        (r"pool\d_relu",),
        {"DenseNet121": (224, 1024), "DenseNet169": (224, 1664), "DenseNet201": (224, 1920)},
    ),
    *_family(
        "efficientnet",
        "none",
        (r"block\d[a-d]_se_excite",),
        {
            "EfficientNetB0": (224, 1280),
            "EfficientNetB1": (240, 1280),
            "EfficientNetB2": (260, 1408),
            "EfficientNetB3": (300, 1536),
            "EfficientNetB4": (380, 1792),
            "EfficientNetB5": (456, 2048),
            "EfficientNetB6": (528, 2304),
            "EfficientNetB7": (600, 2560),
        },
    ),
    *_family(
        "efficientnet_lite",
        "lite",
        (r"block\d[a-z]_depthwise_relu",),
        {
            "EfficientNetLite0": (224, 1280),
            "EfficientNetLite1": (240, 1280),
            "EfficientNetLite2": (260, 1280),
        },
    ),
    *_family(
        "efficientnet_v2",
        "none",
        (r"block[23][a-d]_expand_activation", r"block[4-6][a-d]_se_excite"),
        {
            "EfficientNetV2B0": (224, 1280),
            "EfficientNetV2B1": (240, 1280),
            "EfficientNetV2B2": (260, 1408),
            "EfficientNetV2B3": (300, 1536),
            "EfficientNetV2S": (384, 1280),
            "EfficientNetV2M": (480, 1280),
            "EfficientNetV2L": (480, 1280),
        },
    ),
    *_family(
        "inception_resnet_v2",
        "tf",
        (r"mixed_\d[ab]", r"block35_(5|10)_ac", r"block17_(5|10|15|20)_ac", r"block8_(5|9)_ac"),
        {"InceptionResNetV2": (299, 1536)},
        min_image_size=75,
    ),
    *_family(
        "inception_v3",
        "tf",
        (r"mixed\d+",),
        {"InceptionV3": (299, 2048)},
        min_image_size=75,
    ),
    *_family(
        "mobilenet",
        "tf",
        (r"conv_pw_\d+_relu",),
        {"MobileNet": (224, 1024)},
        has_alpha=True,
    ),
    *_family(
        "mobilenet_v2",
        "tf",
        (r"(expanded_conv|block_\d+)_depthwise_relu",),
        {"MobileNetV2": (224, 1280)},
        has_alpha=True,
    ),
    *_family(
        "mobilenet_v3",
        "none",
        (r"expanded_conv_(\d+_)?add", r"expanded_conv_([89]|1\d)_squeeze_excite_mul"),
        {"MobileNetV3Large": (224, 960), "MobileNetV3Small": (224, 576)},
        has_alpha=True,
    ),
    *_family(
        "nasnet",
        "tf",
        (r"normal_concat_\d+",),
        {"NASNetLarge": (331, 4032), "NASNetMobile": (224, 1056)},
    ),
    *_family(
        "resnet",
        "caffe",
        (r"conv\d_block\d+_out",),
        {"ResNet50": (224, 2048), "ResNet101": (224, 2048), "ResNet152": (224, 2048)},
    ),
    *_family(
        "resnet_v2",
        "tf",
        (r"conv\d_block\d+_out",),
        {"ResNet50V2": (224, 2048), "ResNet101V2": (224, 2048), "ResNet152V2": (224, 2048)},
    ),
    *_family("vgg16", "caffe", (r"block\d_pool",), {"VGG16": (224, 512)}),
    *_family("vgg19", "caffe", (r"block\d_pool",), {"VGG19": (224, 512)}),
    *_family(
        "xception",
        "tf",
        (r"add(_\d+)?",),
        {"Xception": (299, 2048)},
        min_image_size=71,
    ),
]


BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}
"""Every backbone by name."""


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()


def find_backbone(name: str) -> Backbone:
    """Finds a row; case, hyphens and underscores do not matter.

    Raises:
        InputError: If no backbone has this name; lists the likely ones.
    """
    rows = {_plain(row.name): row for row in _ROWS}
    plain = _plain(name)
    if plain in rows:
        return rows[plain]
    holding = [key for key in rows if plain and plain in key]
    likely = holding or difflib.get_close_matches(plain, rows, n=5, cutoff=0.5) or list(rows)
    names = ", ".join(rows[key].name for key in likely)
    raise InputError(f"backbone: there is no {name!r}; choose one of {names}")

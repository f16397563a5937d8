"""Norms folded into the kernels in front of them, for training on a CPU.

With still statistics a norm is a product and a sum for each channel. Applied to the kernel instead
of to the activations it gives the same function, and kernel, scale and offset the same gradients,
from tensors that are thousands of times smaller. Compilers for accelerators fuse the two anyway.
Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3.2.
"""

from typing import Any

import keras
from keras import ops


class FoldedNorm(keras.layers.Layer):
    """A convolution and the norm behind it, with their own variables, as one convolution.

    Args:
        convolution: Built, without activation.
        norm: Built; its statistics are taken as they are.
    """

    def __init__(
        self,
        convolution: keras.layers.Conv2D | keras.layers.DepthwiseConv2D,
        norm: keras.layers.BatchNormalization,
    ) -> None:
        super().__init__(dtype="float32")
        self.convolution, self.norm = convolution, norm
        self.built = True

    def call(self, images: Any) -> Any:
        """What the norm gives where nothing is learned."""
        layer, norm = self.convolution, self.norm
        scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
        scale = scale * norm.gamma if norm.scale else scale
        offset = (layer.bias if layer.use_bias else 0.0) - norm.moving_mean
        offset = offset * scale + (norm.beta if norm.center else 0.0)
        geometry = {
            "strides": layer.strides,
            "padding": layer.padding,
            "dilation_rate": layer.dilation_rate,
        }
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = layer.kernel * ops.reshape(scale, layer.kernel.shape[2:])
            return ops.depthwise_conv(images, kernel, **geometry) + offset
        return ops.conv(images, layer.kernel * scale, **geometry) + offset


def fold_norms(model: keras.Model) -> keras.Model:
    """A model of the same variables and outputs, where norms that train with a kernel are folded.

    Args:
        model: A functional model, others nested in it included.

    Returns:
        To be called with `training=False`; layers that are not folded are those of the model.
    """
    made: dict[int, tuple[keras.Layer, Any]] = {}

    def replaced(layer: Any) -> Any:
        return fold_norms(layer) if isinstance(layer, keras.Model) else layer

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        is_norm = type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3)
        if is_norm and id(args[0]) in made:
            convolution, images = made[id(args[0])]
            return FoldedNorm(convolution, layer)(images)
        outputs = layer(*args, **kwargs)
        if _can_be_folded(layer):
            # What nobody reads is no part of the new graph.
            made[id(outputs)] = layer, args[0]
        return outputs

    return keras.models.clone_model(model, clone_function=replaced, call_function=called)


def _can_be_folded(layer: Any) -> bool:
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        # Where scale and offset train alone, folding would need the gradient of the kernel.
        and layer.trainable
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
    )

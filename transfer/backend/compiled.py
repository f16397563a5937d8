"""Compiled functions, gradients, inference and exact float32 on whichever backend Keras runs.

Keras offers loops and array operations that work on all of them, but these only through
`Model.fit`, which trains one model at a time, and `Model.predict`, which waits for each batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras


def compiled(function: Callable) -> Callable:
    """Compiles a function of nested tensors, anew for each shape that it is called with.

    XLA is used on CPUs too: products of matrices run as fast as without, and what lies between
    them is fused. (Depthwise convolutions are what it is slow at; heads have none.) PyTorch runs
    the function as it is: its compiler needs a C++ compiler on the machine.
    """
    match keras.backend.backend():
        case "tensorflow":
            tensorflow = _quiet_tensorflow()
            return tensorflow.function(function, jit_compile=True, autograph=False)
        case "jax":
            import jax

            return jax.jit(function)
        case _:
            return function


def _quiet_tensorflow() -> Any:
    import tensorflow

    # It warns of functions that are compiled often, which is what several shapes ask for.
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


def gradients(loss: Callable[[list], tuple[Any, Any]], weights: list) -> tuple[list, Any]:
    """Derivatives of a loss by weights.

    Args:
        loss: Takes the weights; returns a scalar tensor, and any nested tensors beside it.
        weights: Tensors.

    Returns:
        One tensor per weight, and what the loss returned beside the scalar.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow

            with tensorflow.GradientTape() as tape:
                tape.watch(weights)
                value, beside = loss(weights)
            return tape.gradient(value, weights), beside
        case "jax":
            import jax

            return jax.grad(loss, has_aux=True)(weights)
        case _:
            import torch

            leaves = [weight.detach().requires_grad_() for weight in weights]
            with torch.enable_grad():
                value, beside = loss(leaves)
            derivatives = torch.autograd.grad(value, leaves)
            return list(derivatives), keras.tree.map_structure(torch.detach, beside)


def inference(model: keras.Model, devices: Sequence[str] = ()) -> Callable[[Any], list]:
    """Compiles a model's forward pass; on an accelerator it returns before the result is there.

    TensorFlow compiles a graph, without XLA, which on a CPU can be ten times slower (depthwise
    convolutions). JAX always compiles with it. PyTorch runs the layers one by one.

    Args:
        model: Its weights are read now; later changes need not be seen before `refresh`.
        devices: On JAX, names from `keras.distribution.list_devices` that share each batch, whose
            rows must be a multiple of their number; none is the backend's choice.

    Returns:
        Function of one batch, an array or, where the model has several inputs, a list of them,
        that gives one tensor of the backend per output of the model.
    """
    match keras.backend.backend():
        case "tensorflow":
            tensorflow = _quiet_tensorflow()

            @tensorflow.function(autograph=False)
            def function(images: Any) -> list:
                return _listed(model(images, training=False))

        case "jax":
            return _JaxInference(model, devices)

        case _:
            import torch

            def function(images: Any) -> list:
                tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, images)
                with torch.no_grad():
                    return _listed(model(tensors, training=False))

    return function


class _JaxInference:
    """JAX's function, which is given the weights that there were when it was made or refreshed."""

    def __init__(self, model: keras.Model, devices: Sequence[str]) -> None:
        import jax

        self._model, self._devices = model, devices
        self._step = jax.jit(
            lambda weights, images: model.stateless_call(*weights, images, training=False)[0]
        )
        self.refresh()

    def refresh(self) -> None:
        model = self._model
        self._weights = [
            [_place(variable.value, self._devices) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]

    def __call__(self, images: Any) -> list:
        return _listed(self._step(self._weights, _place(images, self._devices, "batch")))


def refresh(function: Callable) -> None:
    """Has a function of `inference` use the model's present weights; JAX's must be told.

    What is compiled stays so, unless other weights train than before.
    """
    if isinstance(function, _JaxInference):
        function.refresh()


def _listed(outputs: Any) -> list:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _place(tensor: Any, devices: Sequence[str], first_axis: str | None = None) -> Any:
    """Puts a tensor on all devices, whole or, with a name for its first axis, in shares."""
    if not devices:
        return tensor
    mesh = keras.distribution.DeviceMesh((len(devices),), ["batch"], list(devices))
    axes = [first_axis, *[None] * (tensor.ndim - 1)] if tensor.ndim else []
    layout = keras.distribution.TensorLayout(axes, mesh)
    return keras.distribution.distribute_tensor(tensor, layout)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keeps GPUs from rounding float32 factors to the 10 bits of TF32, as all backends let them.

    It holds for what is computed, or with JAX compiled, within the block.
    """
    match keras.backend.backend():
        case "tensorflow":
            from tensorflow.config import experimental

            before = experimental.tensor_float_32_execution_enabled()
            experimental.enable_tensor_float_32_execution(False)
            try:
                yield
            finally:
                experimental.enable_tensor_float_32_execution(before)
        case "jax":
            import jax

            with jax.default_matmul_precision("highest"):
                yield
        case _:
            from torch.backends import cuda, cudnn

            allowed = cuda.matmul.allow_tf32, cudnn.allow_tf32
            cuda.matmul.allow_tf32 = cudnn.allow_tf32 = False
            try:
                yield
            finally:
                cuda.matmul.allow_tf32, cudnn.allow_tf32 = allowed

"""Compiling functions, and their gradients, on whichever backend Keras runs.

Keras offers loops and array operations that work on all of them, but these two only through
`Model.fit`, which trains one model at a time.
"""

from collections.abc import Callable
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
            import tensorflow

            # It warns of functions compiled for many shapes, which is what a shrinking bank asks.
            tensorflow.get_logger().setLevel("ERROR")
            return tensorflow.function(function, jit_compile=True, autograph=False)
        case "jax":
            import jax

            return jax.jit(function)
        case _:
            return function


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

"""The private parts of Keras that are used, all of them."""

import contextlib
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

DRAWN = ("normal", "truncated_normal", "uniform")
"""Functions by which Keras's initializers draw weights."""
SELDOM_USED = frozenset(
    f"{package}.{name}"
    for package in ("keras", "keras._tf_keras.keras", "keras.src")
    for name in ("wrappers", "visualization")
)
"""Packages of Keras that import scikit-learn and matplotlib."""


class _Later(MetaPathFinder):
    """Finds what is seldom used, and has it run when something of it is asked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname in SELDOM_USED else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def seldom_used_comes_later() -> Iterator[None]:
    """Imports Keras without what few use of it: in 3.5 seconds in place of 4.7."""
    finder = _Later()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def fresh_layer_names() -> Iterator[None]:
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


_INITIALIZING = threading.RLock()


@contextlib.contextmanager
def initial_weights_from(seed: int) -> Iterator[None]:
    """Has Keras draw the seeds of initializers from a generator of our own.

    It draws them from Python's, which all threads share: a dask worker's others draw from it too.
    """
    from keras.src.random import seed_generator

    with _INITIALIZING:
        shared = seed_generator.python_random
        seed_generator.python_random = random.Random(seed)
        try:
            yield
        finally:
            seed_generator.python_random = shared


@contextlib.contextmanager
def weights_come_later() -> Iterator[None]:
    """Has initializers give zeros where they would draw, for what is built here is loaded then.

    JAX compiles a program for each shape that is drawn: 10 to 20 seconds for one backbone.
    """
    from keras.src.initializers import random_initializers

    with _INITIALIZING:
        drawing = random_initializers.random
        random_initializers.random = _Undrawn(drawing)
        try:
            yield
        finally:
            random_initializers.random = drawing


class _Undrawn:
    """Keras's random functions, zeros for the thread that made this: others may train beside it."""

    def __init__(self, drawing: Any) -> None:
        self._drawing, self._thread = drawing, threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        if threading.get_ident() != self._thread or name not in DRAWN:
            return getattr(self._drawing, name)
        return lambda shape, *_, dtype=None, **__: np.zeros(shape, dtype or "float32")


def number_of(variable: Any, optimizer: "keras.optimizers.Optimizer") -> int:
    """Which of the variables that an optimizer was built with one is.

    Its `update_step` receives them as the backend has them, on TensorFlow without a path.
    """
    return optimizer._get_variable_index(variable)


def running_averages(optimizer: "keras.optimizers.Optimizer") -> list[Any]:
    """The running averages that an optimizer with `use_ema` keeps, in its variables' order."""
    return optimizer._model_variables_moving_average


def allow_jit(layer: "keras.layers.Layer") -> None:
    """Has JAX compile layers that Keras exempts for what XLA lacks on TensorFlow.

    Layers that turn, move or zoom images at random are marked so on every backend; a model with one
    of them would run each operation by itself.
    """
    for inner in layer._flatten_layers():
        inner.supports_jit = True

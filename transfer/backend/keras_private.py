"""The private parts of Keras that are used, all of them."""

import contextlib
import random
import threading
from collections import defaultdict
from collections.abc import Iterator


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


_SEEDING = threading.Lock()


@contextlib.contextmanager
def initial_weights_from(seed: int) -> Iterator[None]:
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

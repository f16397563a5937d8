"""Importing Keras without the chatter of the library below it, and with settings of our own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from transfer.backend.keras_private import seldom_used_comes_later
from transfer.errors import InputError
from transfer.machine.processors import thread_limit

SETTINGS: dict[str, Any] = {
    "floatx": "float32",
    "image_data_format": "channels_last",
    "epsilon": 1e-7,
    "max_epochs": None,
    "max_steps_per_epoch": None,
}
"""What features, heads and scores depend on, by the names in `keras.config`.

Keras reads the first three from `~/.keras/keras.json`, where any program may have left them, the
others from KERAS_MAX_EPOCHS and KERAS_MAX_STEPS_PER_EPOCH.
"""


def import_keras() -> None:
    """Imports Keras and its backend once, with standard error closed to native code.

    TensorFlow logs from C++ while it is imported, before any setting of its own can stop it.
    Python's exceptions, a missing package for one, are raised as ever. Where nobody has imported
    Keras before, it gets the settings that ours are computed with, whatever other programs use.

    Raises:
        InputError: As `check_settings`, if somebody has, a notebook for one; also if layers would
            not compute in float32 by its policy.
    """
    ours = "keras" not in sys.modules
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_chatter(), seldom_used_comes_later():
        import keras

        keras.backend.backend()
    if ours:
        _limit_threads()
        for name, value in SETTINGS.items():
            _setter(name)(value)
        keras.config.set_dtype_policy("float32")
    check_settings()
    if (policy := keras.config.dtype_policy().name) != "float32":
        raise InputError(
            f"stages expect the dtype policy float32, received {policy!r}; call "
            "keras.config.set_dtype_policy('float32') first"
        )


def _limit_threads() -> None:
    """Tells TensorFlow of a limit; by its variable, workers would be told that of this process."""
    threads = thread_limit()
    if not threads or "TF_NUM_INTRAOP_THREADS" in os.environ or "tensorflow" not in sys.modules:
        return
    import tensorflow as tf

    with suppress(RuntimeError):  # another program's: it has computed already
        tf.config.threading.set_intra_op_parallelism_threads(threads)


@contextmanager
def without_chatter() -> Iterator[None]:
    """Closes standard output and standard error to native code, and to Python as well."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as where what a stage prints is not wanted
            stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    saved = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in saved:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def check_settings() -> None:
    """Refuses to build layers with settings under which they would give other values.

    Raises:
        InputError: If Keras has others than `SETTINGS`; says how to change that.
    """
    import keras

    for name, value in SETTINGS.items():
        # Versions before 3.12 have no limits of epochs and steps.
        found = getattr(keras.config, name, lambda value=value: value)()
        if found != value:
            raise InputError(
                f"expected keras.config.{name}() to be {value!r}, received {found!r}; call "
                f"keras.config.set_{name}({value!r}) first, or mend keras.json in KERAS_HOME"
            )


def _setter(name: str) -> Any:
    import keras

    return getattr(keras.config, f"set_{name}", lambda value: None)

"""Importing Keras without the chatter of the library below it."""

import os


def import_keras() -> None:
    """Imports Keras and its backend once, with standard error closed to native code.

    TensorFlow logs from C++ while it is imported, before any setting of its own can stop it.
    Python's exceptions, a missing package for one, are raised as ever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import keras

        keras.backend.backend()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def device_name() -> str:
    """What Keras computes with, such as `tensorflow, CPU` or `jax, 2 x GPU`."""
    import keras

    backend = keras.backend.backend()
    devices = keras.distribution.list_devices("gpu") or keras.distribution.list_devices("tpu")
    if not devices:
        return f"{backend}, CPU"
    kind = str(devices[0]).split(":")[0].upper()
    return f"{backend}, {kind}" if len(devices) == 1 else f"{backend}, {len(devices)} x {kind}"

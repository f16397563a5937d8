"""Importing Keras without the chatter of the library below it."""

import os


def import_keras() -> None:
    """Imports Keras and its backend once, with standard error closed to native code.

    TensorFlow logs from C++ while it is imported, before any setting of its own can stop it.
    Python's exceptions, a missing package for one, are raised as ever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Workers are told their share of the processor in this way; TensorFlow does not listen to it.
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", os.environ["OMP_NUM_THREADS"])
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

    backend, devices = keras.backend.backend(), _accelerators()
    if not devices:
        return f"{backend}, CPU"
    kind = str(devices[0]).split(":")[0].upper()
    return f"{backend}, {kind}" if len(devices) == 1 else f"{backend}, {len(devices)} x {kind}"


def has_accelerator() -> bool:
    """Whether Keras computes on something else than the CPU."""
    return bool(_accelerators())


def _accelerators() -> list[str]:
    import keras

    return keras.distribution.list_devices("gpu") or keras.distribution.list_devices("tpu")

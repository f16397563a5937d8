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

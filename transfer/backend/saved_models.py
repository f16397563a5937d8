"""TensorFlow's SavedModels: reading one, with nothing in it that reaches beyond its network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from transfer.errors import InputError

REACHING_OUT = (
    *("ReadFile", "WriteFile", "MatchingFiles", "DebugIdentityV2", "DebugIdentityV3"),
    *("PyFunc", "PyFuncStateless", "EagerPyFunc"),
)
"""Operations by which a graph of a stranger could touch files or run Python."""


def load_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the endpoint `serve` of a SavedModel.

    Args:
        path: The folder.

    Returns:
        From what the endpoint takes to its output, as an array.

    Raises:
        InputError: If a graph in it touches files or runs Python.
    """
    from transfer.backend.startup import import_keras

    import_keras()  # it imports TensorFlow without its chatter
    import tensorflow
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in (one.graph_def for one in saved.meta_graphs):
        functions = (function.node_def for function in graph.library.function)
        for nodes in (graph.node, *functions):
            if found := sorted({node.op for node in nodes} & set(REACHING_OUT)):
                raise InputError(
                    f"{path} is expected to hold a network alone, received the operation "
                    f"{found[0]}; do not use this file"
                )
    loaded = tensorflow.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()

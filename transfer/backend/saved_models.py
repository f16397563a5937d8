"""TensorFlow's SavedModels: reading one that is a network alone, and converting one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.errors import InputError

REACHING_OUT = (
    *("ReadFile", "WriteFile", "MatchingFiles", "DebugIdentityV2", "DebugIdentityV3"),
    *("PyFunc", "PyFuncStateless", "EagerPyFunc"),
)
"""Operations by which a graph of a stranger could touch files or run Python."""
OPSET = 18
"""Version of ONNX's operations, the newest that tf2onnx 1.17 knows."""


def load_saved_model(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Loads the endpoint `serve` of a SavedModel.

    Args:
        path: The folder.

    Returns:
        From what the endpoint takes to its outputs by name, as arrays.

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
    return lambda images: {name: one.numpy() for name, one in loaded.serve(images).items()}


def converted_to_litert(path: Path, float16: bool = False) -> bytes:
    """Converts a SavedModel to what LiteRT reads, of its own operations alone.

    Args:
        path: The folder.
        float16: Whether weights are rounded to float16.

    Returns:
        The content of a `.tflite` file.
    """
    import tensorflow
    from tensorflow import lite

    converter = lite.TFLiteConverter.from_saved_model(str(path))
    if float16:
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tensorflow.float16]
    return converter.convert()


def quantized_for_litert(path: Path, calibration: Sequence[np.ndarray], exact: str) -> bytes:
    """Converts a SavedModel to what LiteRT reads, in int8.

    Args:
        path: The folder.
        calibration: Images `(height, width, 3)` uint8, such as it will be run on.
        exact: Part of the names of operations that are left in float32.

    Returns:
        The content of a `.tflite` file.
    """
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow import lite

    whole = Interpreter(model_content=converted_to_litert(path))
    names = [tensor["name"] for tensor in whole.get_tensor_details()]
    converter = lite.TFLiteConverter.from_saved_model(str(path))
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in calibration)
    # The debugger alone lets operations be left out; nothing is debugged.
    debugger = lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=converter.representative_dataset,
        debug_options=lite.experimental.QuantizationDebugOptions(
            denylisted_nodes=[name for name in names if exact in name]
        ),
    )
    return debugger.get_nondebug_quantized_model()


def converted_to_onnx(path: Path) -> Any:
    """Converts the endpoint `serve` of a SavedModel.

    Returns:
        An `onnx.ModelProto` with the input `images`, all constants inside.
    """
    import tensorflow
    import tf2onnx

    loaded = tensorflow.saved_model.load(str(path))
    (signature,) = loaded.serve.input_signature[:1]
    named = tensorflow.TensorSpec(signature.shape, signature.dtype, name="images")
    model, _ = tf2onnx.convert.from_function(loaded.serve, [named], opset=OPSET)
    return model

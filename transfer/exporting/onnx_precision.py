"""ONNX models of fewer bits."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from transfer.exporting.formats import RESIZING

LEAST_WEIGHTS = 64
"""Numbers in a constant from which it is worth halving."""
QUANTIZED = ("Conv", "MatMul", "Gemm", "Add", "Clip", "Relu", "GlobalAveragePool", "AveragePool")
"""Operations that compute in int8; ONNX Runtime's quantizer knows more, such as Concat."""


def with_float16_weights(model: Any) -> Any:
    """An ONNX model whose weights are float16, each turned to float32 where it is used.

    The runtime turns them once, when it loads the file: half the size, and the same speed. What
    computes in float16 itself is slower on CPUs.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for weights in graph.initializer:
        if weights.data_type != TensorProto.FLOAT or np.prod(weights.dims) < LEAST_WEIGHTS:
            continue
        name, half = weights.name, f"{weights.name}/half"
        values = numpy_helper.to_array(weights).astype(np.float16)
        weights.CopyFrom(numpy_helper.from_array(values, half))
        casts.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def write_int8(model: Any, path: Path, calibration: "Any") -> None:
    """Writes an ONNX model quantized to int8; the resizing stays in float32.

    Args:
        model: With one input, uint8 `(batch, height, width, 3)`.
        path: Of the file to write.
        calibration: Images `(height, width, 3)` uint8, such as those it will be run on.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    (pixels,) = model.graph.input

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {pixels.name: image[None]}

    with TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        onnx.save(model, prepared)
        quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        quantize_static(
            prepared,
            path,
            Reader(),
            per_channel=True,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=[node.name for node in nodes if RESIZING in node.name],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )

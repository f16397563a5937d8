"""The formats that a classifier is exported to, and what reads each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transfer.errors import InputError

FormatName = Literal["keras", "savedmodel", "litert", "onnx", "openvino"]
Precision = Literal["float32", "float16", "int8"]
"""How weights are kept, and for int8 also how most layers compute."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: As `transfer export --to` takes it.
        suffix: Of the file or, for a SavedModel, of the folder.
        runtime: In words, for errors.
        module: What is imported to run such a file.
        package: What pip installs for it.
        precisions: Those that it can have.
    """

    name: FormatName
    suffix: str
    runtime: str
    module: str
    package: str
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8")


FORMATS: dict[FormatName, Format] = {
    one.name: one
    for one in (
        Format("keras", ".keras", "Keras", "keras", "keras", ("float32",)),
        Format("savedmodel", ".savedmodel", "TensorFlow", "tensorflow", "tensorflow", ("float32",)),
        Format("litert", ".tflite", "LiteRT", "ai_edge_litert.interpreter", "ai-edge-litert"),
        Format("onnx", ".onnx", "ONNX Runtime", "onnxruntime", "onnxruntime"),
        Format("openvino", ".xml", "OpenVINO", "openvino", "openvino"),
    )
}


def format_of(path: Path) -> Format:
    """The format that a file or folder has by its name.

    Raises:
        InputError: If it has none of them.
    """
    for one in FORMATS.values():
        if path.suffix.lower() == one.suffix:
            return one
    if (path / "saved_model.pb").is_file():
        return FORMATS["savedmodel"]
    expected = ", ".join(one.suffix for one in FORMATS.values())
    raise InputError(
        f"expected a model whose name ends in one of {expected}, received {path.name!r}"
    )

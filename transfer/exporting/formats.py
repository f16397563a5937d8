"""The formats that a classifier is exported to, and what reads each."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transfer.errors import InputError

FormatName = Literal["keras", "savedmodel", "litert", "onnx", "openvino"]
Precision = Literal["float32", "float16", "int8"]
"""How weights are kept, and for int8 also how most layers compute."""

OUTPUTS = ("probabilities", "representation")
"""Names of what a model gives. Most converters sort them; programs that take the first, take
probabilities."""
RESIZING = "matmul_resizing"
"""In the names of the operations that resize images, in every format."""


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
        converters: Further packages that are needed to make such a file.
        int8_converters: Those that are needed besides for int8.
    """

    name: FormatName
    suffix: str
    runtime: str
    module: str
    package: str
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8")
    converters: tuple[str, ...] = ()
    int8_converters: tuple[str, ...] = ()


FORMATS: dict[FormatName, Format] = {
    one.name: one
    for one in (
        Format("keras", ".keras", "Keras", "keras", "keras", ("float32",)),
        Format("savedmodel", ".savedmodel", "TensorFlow", "tensorflow", "tensorflow", ("float32",)),
        Format("litert", ".tflite", "LiteRT", "ai_edge_litert.interpreter", "ai-edge-litert"),
        Format(
            "onnx",
            ".onnx",
            "ONNX Runtime",
            "onnxruntime",
            "onnxruntime",
            converters=("onnx", "tf2onnx"),
        ),
        Format("openvino", ".xml", "OpenVINO", "openvino", "openvino", int8_converters=("nncf",)),
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


def check_packages(of: Format, precision: Precision) -> None:
    """Refuses a precision that a format does not have, or one that a package lacks for.

    Raises:
        InputError: Names the first thing to do.
    """
    if precision not in of.precisions:
        others = ", ".join(one.name for one in FORMATS.values() if precision in one.precisions)
        raise InputError(
            f"--to {of.name} expects --precision {' or '.join(of.precisions)}, received "
            f"{precision}, which {others} have"
        )
    needed = {of.package: of.module.split(".")[0]} | {name: name for name in of.converters}
    if precision == "int8":
        needed |= {name: name for name in of.int8_converters}
    if lacking := [package for package, module in needed.items() if find_spec(module) is None]:
        raise InputError(
            f"--to {of.name} with --precision {precision} expects the packages "
            f"{', '.join(needed)}, found no {', '.join(lacking)}; pip install {' '.join(lacking)}"
        )

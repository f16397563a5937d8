"""OpenVINO and what its makers build on it: imports that report nothing to them, and settings."""

import sys
from importlib import import_module
from typing import Any

from transfer.errors import InputError
from transfer.machine.processors import thread_limit


def import_openvino() -> Any:
    """Imports the package without letting it report its use to its makers.

    Raises:
        InputError: If it is not installed.
    """
    remedy = "pip install openvino, or use --engine keras"
    return import_without_reports("openvino", "expected", remedy)


def import_without_reports(name: str, expected: str, remedy: str) -> Any:
    """Imports openvino, or what its makers build on it.

    Args:
        name: Of the package.
        expected: First words of the error where it is not installed: who expects it.
        remedy: Its last words.

    Raises:
        InputError: If it is not installed.
    """
    # It would send an event at its import already, unless it finds this package missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"{expected} the package {name}, found none ({error}); {remedy}") from None


def openvino_settings(precision: str = "f32") -> dict[str, Any]:
    """Settings of a compiled model: many requests at a time.

    Args:
        precision: "f32" or "bf16".
    """
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        # On processors that have bfloat16 it would be the default.
        "INFERENCE_PRECISION_HINT": precision,
    }
    threads = thread_limit()
    return settings | ({"INFERENCE_NUM_THREADS": threads} if threads else {})

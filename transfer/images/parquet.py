"""Opening .parquet files, for which pyarrow is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transfer.errors import InputError


def open_parquet(path: Path) -> Any:
    """Opens a file as `pyarrow.parquet.ParquetFile`.

    Raises:
        InputError: If pyarrow is not installed, or the file cannot be read as parquet.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(
            f"{path} expects the package pyarrow, found none: pip install cached-transfer[parquet]"
        ) from None
    try:
        return ParquetFile(path.expanduser())
    except (OSError, ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"expected a parquet file, received {path}: {reason}") from error

"""A model in a fresh process, which has imported nothing but its runtime.

The process reads batches of pixels from its standard input and writes probabilities to its
standard output; run as `python -m transfer.exporting.apart MODEL`.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from transfer.errors import InputError
from transfer.exporting.runtimes import open_model

_REQUEST = struct.Struct("<3I")
"""Batch, height and width; uint8 pixels follow."""
_ANSWER = struct.Struct("<2I")
"""Batch and classes; float32 probabilities follow."""


class ModelApart:
    """Predicts by the process behind two pipes."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers = requests, answers

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As `ExportedModel.predict`, for one thread.

        Raises:
            EOFError: If the process has ended.
        """
        try:
            self._requests.write(_REQUEST.pack(*images.shape[:3]))
            self._requests.write(np.ascontiguousarray(images).data)
            self._requests.flush()
        except BrokenPipeError:
            raise EOFError from None
        shape = _ANSWER.unpack(_read(self._answers, _ANSWER.size))
        return np.frombuffer(_read(self._answers, 4 * shape[0] * shape[1]), "<f4").reshape(shape)


@contextmanager
def model_apart(path: Path) -> Iterator[ModelApart]:
    """Opens a model in a fresh process, which ends with the block.

    Args:
        path: As `open_model` takes it.

    Raises:
        InputError: If the process ends before; has the last line that it said.
    """
    command = [sys.executable, "-m", "transfer.exporting.apart", str(path)]
    with TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment()
        )
        assert process.stdin and process.stdout
        try:
            yield ModelApart(process.stdin, process.stdout)
            process.stdin.close()
            process.wait()
        except EOFError:
            process.wait()
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "nothing was said")
            raise InputError(
                f"{path.name} does not run in a process of its own: {reason[:500]}"
            ) from None
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    pipe.close()


def environment() -> dict[str, str]:
    """That of this process, with the folders where it finds modules."""
    folders = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "TF_CPP_MIN_LOG_LEVEL": "3"}


def _read(pipe: IO[bytes], count: int) -> bytes:
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return content


def _serve(path: Path) -> None:
    """Answers until the input ends; runtimes that print do so to standard error."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        model = open_model(path)
        while header := sys.stdin.buffer.read(_REQUEST.size):
            shape = (*_REQUEST.unpack(header), 3)
            pixels = _read(sys.stdin.buffer, int(np.prod(shape)))
            probabilities = model.predict(np.frombuffer(pixels, np.uint8).reshape(shape))
            answers.write(_ANSWER.pack(*probabilities.shape))
            answers.write(probabilities.astype("<f4").tobytes())
            answers.flush()


if __name__ == "__main__":
    try:
        _serve(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(str(error))

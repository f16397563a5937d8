"""The standard streams: what is written to them, and what is if nobody reads any more."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from transfer.errors import DataWarning
from transfer.names import shown

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False, width: int | None = None) -> "Console":
    """Where tables and progress are printed, letter by letter: `[red]` and `:smile:` are names."""
    from rich.console import Console

    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def complain(message: object) -> None:
    """Prints to standard error, line by line as it is meant, whatever names hold."""
    print("\n".join(shown(line) for line in str(message).split("\n")), file=sys.stderr)


@contextmanager
def warnings_in_a_line(stage: str) -> Iterator[None]:
    """Has what is to be said of the data go to standard error without the place in our code."""
    usual = warnings.showwarning
    _show_in_a_line(stage)
    try:
        yield
    finally:
        warnings.showwarning = usual


def _show_in_a_line(stage: str) -> None:
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if issubclass(category, DataWarning):
            complain(f"{stage}: {message}")
        else:
            usual(message, category, *where)

    warnings.showwarning = show  # type: ignore[assignment]


class _Descriptor(io.FileIO):
    """A descriptor that leads nowhere once its reader has gone, as in `transfer features | head`.

    The stage goes on to its end: what it makes was asked for, whoever reads what it says.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for native code and workers to come as well
            os.close(nowhere)
            return memoryview(data).nbytes


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Has all that is printed within the block go where it can, and raise nothing.

    What an encoding lacks is escaped, a closed pipe is quiet, and a closed descriptor is opened, to
    nowhere, lest a file with features be given its number and native code chat into it.
    """
    _open_missing()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_lasting(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def keep_streams_lasting() -> None:
    """The same for a worker, which lives on with what is set here."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
    if warnings.showwarning.__module__ != __name__:  # else an earlier task has seen to it
        _show_in_a_line("worker")


def _open_missing() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _lasting(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # closed from the start, or a notebook's own
        return stream
    stream.reconfigure(errors="backslashreplace")
    try:
        number = stream.fileno()
    except OSError:
        return stream
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if isinstance(raw, _Descriptor):
        return stream
    stream.flush()
    descriptor = _Descriptor(number, "w", closefd=False)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)  # python -u, PYTHONUNBUFFERED
    return io.TextIOWrapper(
        cast(IO[bytes], descriptor) if unbuffered else io.BufferedWriter(descriptor),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

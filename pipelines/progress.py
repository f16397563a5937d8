"""Progress bars on a terminal, silence in a pipe."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipelines.terminal import console
from transfer.names import shown


class _Speed(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else f"- {self._unit}/s")


@contextmanager
def progress(description: str, total: int, unit: str = "images") -> Iterator[Callable[..., None]]:
    """Shows a bar with speed and time left on standard error, if that is a terminal.

    Args:
        description: What is being done.
        total: Number of units in all.
        unit: What is counted.

    Yields:
        A function `update(done, note="")`: how many units are done by now.
    """
    screen = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=screen,
        disable=not screen.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(shown(description), total=total, note="")
        yield lambda done, note="": bar.update(task, completed=min(done, total), note=note)


ESTIMATE_AFTER = 5.0
"""Seconds after which the time left is estimated: the first batches are slower."""
WORTH_TIMING = 200
"""Images whose speed says something."""
WORTH_SAYING = 30.0
"""Seconds left that are worth a line."""


def estimate(description: str, total: int, unit: str = "images") -> Callable[[int], None]:
    """Says once, on standard output, how long it will take; a log shows no bar.

    Args:
        description: What is being done.
        total: Number of units in all.
        unit: What is counted.

    Returns:
        A function to call with the number of units done by now.
    """
    first: tuple[float, int] | None = None
    said = False

    def note(done: int) -> None:
        nonlocal first, said
        now = time.monotonic()
        if first is None:
            first = now, done  # from the end of the first batch, which compiles the model
        elif not said and done > first[1] and now - first[0] >= ESTIMATE_AFTER:
            said = True
            speed = (done - first[1]) / (now - first[0])
            left = (total - done) / speed
            if left >= WORTH_SAYING:
                minutes = f"{left / 60:,.1f} minutes"
                digits = 0 if speed >= 10 else 1
                print(
                    f"{description}: {speed:,.{digits}f} {unit}/s, about {minutes} left", flush=True
                )

    return note


class Speed:
    """Counts images and seconds from the first note on: until then there is more to be done."""

    def __init__(self) -> None:
        self._notes: list[tuple[float, int]] = []

    def note(self, done: int) -> None:
        """To be called with the number of images done by now."""
        self._notes[1:] = [(time.monotonic(), done)]

    def in_words(self) -> str:
        """The speed; nothing where so few images ran that it says nothing."""
        if len(self._notes) < 2 or self._notes[1][1] - self._notes[0][1] < WORTH_TIMING:
            return ""
        (began, first), (ended, last) = self._notes
        return f" at {(last - first) / (ended - began):,.0f} images/s"


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """Shows that work without a countable end goes on, if standard error is a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield
        return
    with screen.status(Text(shown(description))):
        yield

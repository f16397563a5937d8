"""What the user gave cannot be used, or not as may be expected: an error and a warning."""

import math
from collections.abc import Callable
from typing import Any


class DataWarning(UserWarning):
    """Something about the data that the user may not know of; stages print it in one line."""


class InputError(ValueError):
    """Bad input: one line saying what was expected, what was received and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


RANGES: dict[str, Callable[[float], bool]] = {
    "at least 1": lambda value: value >= 1,
    "at least 0": lambda value: 0 <= value < math.inf,
    "more than 0": lambda value: 0 < value < math.inf,
    "a share from 0 up to 1": lambda value: 0 <= value < 1,
}
"""What options may be asked to be, in the words of the message."""


def check_range(options: Any, expected: str, *names: str) -> None:
    """Refuses options out of their range; those that are None are left open.

    Args:
        options: A dataclass whose fields are flags.
        expected: A key of `RANGES`.
        names: Fields that must be so.

    Raises:
        InputError: Names the flag of the first that is not.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and not RANGES[expected](value):
            raise InputError(f"--{name.replace('_', '-')} expects {expected}, received {value}")

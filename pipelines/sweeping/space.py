"""What a sweep searches: from words such as `dropout=uniform(0,0.5)` to points."""

import difflib
import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfer.errors import InputError

MOST_POINTS = 100_000

NUMBERS = {
    "range": "range(start,stop) or range(start,stop,step)",
    "linspace": "linspace(low,high,number)",
    "geomspace": "geomspace(low,high,number)",
}
"""What stands for several values of a list: Python's range, numpy's linspace and geomspace."""
DISTRIBUTIONS = {
    "uniform": "uniform(low,high)",
    "loguniform": "loguniform(low,high)",
    "randint": "randint(low,high)",
}
"""What stands for values to draw: scipy.stats' distributions; randint never draws high."""

_ALL_CALLS = NUMBERS | DISTRIBUTIONS
_CALL = re.compile(r"(\w+)\s*\(([^()]*)\)")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")
_PLUS_OUTSIDE_PARENTHESES = re.compile(r"\+(?![^(]*\))")
_PART = r"(?:\s*\([^()]*\)\s*|[^()+]*)"
_AS_IT_STANDS = re.compile(rf"{_PART}(?:\+{_PART})*")
# Beyond it, float64 does not hold every whole number, nor does randint draw them all.
_LARGEST_NUMBER = 2**53


@dataclass(frozen=True)
class Distribution:
    """Values to draw for an option.

    Attributes:
        frozen: A frozen distribution of scipy.stats.
        convert: Makes a number drawn from it a value of the option.
    """

    frozen: Any
    convert: Callable[[float], Any]

    def rvs(self, random_state: Any = None) -> Any:
        """Draws one value, as sklearn's ParameterSampler asks for it."""
        return self.convert(self.frozen.rvs(random_state=random_state))


Space = dict[str, Any]
"""Name of an option -> list of values, or a `Distribution`."""


def read_spaces(words: Sequence[str], kinds: Mapping[str, Any]) -> list[Space]:
    """Reads `("hidden=0,256+128", "dropout=uniform(0,0.5)", "or", "hidden=0")`.

    A list may hold `range(start,stop,step)`, `linspace(low,high,number)` and
    `geomspace(low,high,number)`; `uniform(low,high)`, `loguniform(low,high)` and
    `randint(low,high)` stand alone. Numbers that are computed or drawn become values of the
    option's type: rounded for whole numbers, to four significant digits for others as long as that
    keeps them apart and between the bounds, one layer for `hidden`. Of names that are joined by +,
    one that holds a + itself stands in parentheses: `identity+(center+flip)` are two.

    Args:
        words: One `name=values` an option; the word `or` begins another space.
        kinds: Name of each option that may be searched -> its type: int, float, str, bool, a
            Literal, a tuple of int or str, or a union of these and None.

    Returns:
        One space for each run of words between `or`; names as in `kinds`, in the given order.

    Raises:
        InputError: If a name is unknown or there twice, values do not fit the option or each other,
            a space is empty, or there are more than 100,000 points.
    """
    spaces: list[Space] = [{}]
    for word in words:
        if word.strip() == "or":
            spaces.append({})
            continue
        name, values = _read_word(word, kinds)
        if name in spaces[-1]:
            raise _refusal("each name once between one or and the next", repr(word))
        spaces[-1][name] = values
    if not all(spaces):
        expected = "at least one name=value,value on each side of or, and one in all"
        raise _refusal(expected, repr(" ".join(words)))
    _check_number(spaces, samples=1)
    return spaces


def points_of(spaces: Sequence[Space], samples: int, seed: int) -> list[dict[str, Any]]:
    """Lists the points to try, each once.

    Args:
        spaces: From `read_spaces`.
        samples: Points to draw from each space with a distribution in it; its lists are drawn from,
            too. Fewer are left where some are alike. A space of lists only is taken whole.
        seed: Of the draws.

    Returns:
        Points as name -> plain Python value, space after space, always in the same order.

    Raises:
        InputError: If there are more than 100,000 points.
        ValueError: If there are no samples to draw.
    """
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    if samples < 1:
        raise ValueError(f"expected at least one sample, received {samples}")
    _check_number(spaces, samples)
    # sklearn takes this old kind of generator only. One for all spaces: with the same seed in each,
    # options of the same place in the alphabet would draw alike.
    random = np.random.RandomState(np.random.MT19937(seed))
    points: dict[frozenset, dict[str, Any]] = {}
    for space in spaces:
        drawn = ParameterSampler(space, samples, random_state=random)
        for point in drawn if _is_drawn(space) else ParameterGrid(space):
            points.setdefault(frozenset(point.items()), {name: point[name] for name in space})
    return list(points.values())


def _is_drawn(space: Space) -> bool:
    return any(isinstance(values, Distribution) for values in space.values())


def _check_number(spaces: Sequence[Space], samples: int) -> None:
    number = sum(
        samples if _is_drawn(space) else math.prod(len(values) for values in space.values())
        for space in spaces
    )
    if number > MOST_POINTS:
        raise _refusal(f"at most {MOST_POINTS:,} points", f"{number:,}; give fewer values")


def _refusal(expected: str, received: str) -> InputError:
    return InputError(f"--grid expects {expected}; received {received}")


def in_words(value: object) -> str:
    """An option's value as a word of the search."""
    if isinstance(value, tuple):
        parts = (f"({one})" if "+" in str(one) else str(one) for one in value)
        return "+".join(parts) or "0"
    return "default" if value is None else str(value)


# ---- words


def _read_word(word: str, kinds: Mapping[str, Any]) -> tuple[str, list | Distribution]:
    written, equals, values = word.partition("=")
    if not equals:
        raise _refusal("name=value,value, or the word or between two spaces", repr(word))
    name = written.strip().replace("-", "_")
    if name not in kinds:
        likely = difflib.get_close_matches(name, kinds) or sorted(kinds)
        names = ", ".join(one.replace("_", "-") for one in likely)
        raise _refusal(f"a name that can be searched, such as {names}", repr(word))
    elements = [element.strip() for element in _COMMA_OUTSIDE_PARENTHESES.split(values)]
    try:
        return name, _read_values(elements, kinds[name])
    except ValueError as error:
        raise _refusal(f"{error} for {name.replace('_', '-')}", repr(word)) from None


def _read_values(elements: Sequence[str], kind: Any) -> list | Distribution:
    values, number_kind = [], _number_kind(kind)
    for element in elements:
        if _AS_IT_STANDS.fullmatch(element):
            values.append(_parse(element, kind))
            continue
        if number_kind is None:
            raise ValueError(_kind_in_words(kind))
        function, arguments = _read_call(element)
        if function in NUMBERS:
            values += _expand(function, arguments, number_kind)
        elif len(elements) > 1:
            raise ValueError(f"a list without {function}, which has to stand alone")
        else:
            return _distribution(function, arguments, number_kind)
    return list(dict.fromkeys(values))


def _read_call(element: str) -> tuple[str, list[float]]:
    """Function and arguments."""
    match = _CALL.fullmatch(element)
    if match is None or match[1] not in _ALL_CALLS:
        raise ValueError(f"values, or one of {', '.join(_ALL_CALLS.values())}")
    function, whole = match[1], match[1] in ("range", "randint")
    arguments = [_read_number(text.strip(), whole) for text in match[2].split(",")]
    numbers = {"range": (2, 3), "linspace": (3,), "geomspace": (3,)}.get(function, (2,))
    if None in arguments or len(arguments) not in numbers:
        of = "whole numbers" if whole else "numbers"
        raise ValueError(f"{_ALL_CALLS[function]} of {of}")
    return function, typing.cast(list[float], arguments)


def _read_number(text: str, whole: bool) -> float | None:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        return None
    return number if abs(number) <= _LARGEST_NUMBER else None


# ---- computed and drawn numbers


def _expand(function: str, arguments: Sequence[float], kind: Any) -> list:
    if function == "range":
        start, stop, step = (int(argument) for argument in (*arguments, 1)[:3])
        if step == 0 or not range(start, stop, step):
            raise ValueError("a range with numbers in it")
        _check_length(len(range(start, stop, step)))
        return [_of_number(number, kind) for number in range(start, stop, step)]
    low, high, length = arguments
    _check_bounds(function, low, high, kind)
    if length < 2 or length != int(length):
        raise ValueError(f"a whole number of at least 2 as the third of {NUMBERS[function]}")
    _check_length(length)
    spaced = np.linspace if function == "linspace" else np.geomspace
    between = spaced(low, high, int(length)).tolist()[1:-1]
    shortened = [low, *(_shortened(number) for number in between), high]
    # Shortened, 1000, 1000.25 and 1000.5 would be one.
    keeps_apart = all(one < other for one, other in itertools.pairwise(shortened))
    numbers = shortened if kind is float and keeps_apart else [low, *between, high]
    return [_of_number(number, kind) for number in numbers]


def _distribution(function: str, arguments: Sequence[float], kind: Any) -> Distribution:
    from scipy import stats

    low, high = arguments
    _check_bounds(function, low, high, kind)
    if function == "uniform":
        frozen = stats.uniform(low, high - low)  # scipy's takes the low end and the width
    else:
        frozen = {"loguniform": stats.loguniform, "randint": stats.randint}[function](low, high)
    shortens = kind is float and function != "randint"

    def convert(number: float) -> Any:
        # loguniform's may lie a rounding error outside; a dropout below 1 must not become 1.
        number = min(max(number, low), high)
        if shortens and low <= _shortened(number) < high:
            number = _shortened(number)
        return _of_number(number, kind)

    return Distribution(frozen, convert)


def _check_bounds(function: str, low: float, high: float, kind: Any) -> None:
    if low >= high:
        raise ValueError(f"a low below the high in {_ALL_CALLS[function]}")
    if function in ("loguniform", "geomspace") and low <= 0:
        raise ValueError(f"a low above 0 in {_ALL_CALLS[function]}")
    if kind is not float and not (float(low).is_integer() and float(high).is_integer()):
        raise ValueError(f"whole numbers as low and high in {_ALL_CALLS[function]}")


def _check_length(length: float) -> None:
    if length > MOST_POINTS:
        raise ValueError(f"at most {MOST_POINTS:,} values")


def _shortened(number: float) -> float:
    """Four significant digits: tables stay narrow, and a value can be typed to have it again."""
    return float(f"{number:.4g}")


# ---- types


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _number_kind(kind: Any) -> Any:
    """The member of a type that a computed number becomes, or None."""
    takers = [one for one in (float, int, tuple[int, ...]) if one in _members(kind)]
    return takers[0] if takers else None


def _of_number(number: float, kind: Any) -> Any:
    if kind is float:
        return float(number)
    whole = round(number)
    if kind is int:
        return whole
    return (whole,) if whole else ()


def _parse(text: str, kind: Any) -> Any:
    # A str would take the word default, too.
    for member in sorted(_members(kind), key=lambda one: one is not type(None)):
        try:
            return _parse_one(text, member)
        except ValueError:
            continue
    raise ValueError(_kind_in_words(kind))


def _parse_one(text: str, kind: Any) -> Any:
    """A value of a type that is no union; a bare ValueError if the text is none."""
    if not text:
        raise ValueError
    if kind is float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
        return number
    if kind in (int, str):
        return kind(text)
    if kind is bool:
        return _choose(text, {"true": True, "false": False})
    if kind is type(None):
        return _choose(text, {"default": None})
    if typing.get_origin(kind) is typing.Literal:
        return _choose(text, {str(choice): choice for choice in typing.get_args(kind)})
    return _parse_tuple(text, kind)


def _parse_tuple(text: str, kind: Any) -> tuple:
    of, *others = _tuple_arguments(kind)
    if text == "0" and of is int and others == [...]:
        return ()
    parts = [part.strip() for part in _PLUS_OUTSIDE_PARENTHESES.split(text)]
    if of is str:
        parts = [_without_parentheses(part) for part in parts]
    values = tuple(_parse_one(part, of) for part in parts)
    # 256+0 is neither one layer nor two.
    if 0 in values if others == [...] else len(values) != 1 + len(others):
        raise ValueError
    return values


def _without_parentheses(name: str) -> str:
    """A name as it is called; a bare ValueError if the parentheses hold several."""
    if not name.startswith("("):
        return name
    if "," in name:
        raise ValueError
    return name[1:-1].strip()


def _tuple_arguments(kind: Any) -> tuple[Any, ...]:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is not tuple or arguments[0] not in (int, str):
        raise TypeError(f"expected a type whose values can be typed, received {kind}")
    return arguments


def _choose(text: str, choices: Mapping[str, Any]) -> Any:
    if text not in choices:
        raise ValueError
    return choices[text]


def _kind_in_words(kind: Any) -> str:
    return " or ".join(_member_in_words(member) for member in _members(kind))


def _member_in_words(kind: Any) -> str:
    plain = {
        int: "whole numbers",
        float: "numbers",
        str: "names",
        bool: "true or false",
        type(None): "default",
    }
    if kind in plain:
        return plain[kind]
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(str(choice) for choice in typing.get_args(kind))
    of, *others = _tuple_arguments(kind)
    joined = f"{plain[of]} joined by +"
    if others == [...]:
        return joined + (", 0 for none" if of is int else ", those with a + in parentheses")
    return f"{1 + len(others)} {joined}"

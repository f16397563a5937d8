"""What a sweep searches: which points words come to, and which words are refused."""

import itertools
import json
import math
import typing
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.sweeping.space import Distribution, in_words, points_of, read_spaces
from transfer.backbones.options import BackboneOptions
from transfer.backbones.views import VIEWS
from transfer.errors import InputError
from transfer.heads.options import FitOptions, HeadOptions

KINDS = {
    "hidden": tuple[int, ...],
    "dropout": float,
    "batch_size": int | None,
    "schedule": Literal["constant", "cosine"],
    "batch_norm": bool,
    "activation": str,
    "regularizer": str | None,
    "use_cuts": tuple[str, ...],
    "image_size": int | tuple[int, int] | None,
    "learning_rate": typing.Optional[float],  # noqa: UP045 as hints may be written
    "epochs": int,
}
NAMES = st.text("abcxyz_0123456789", min_size=1, max_size=8).filter(lambda text: text != "default")
JOINED = st.lists(NAMES, min_size=1, max_size=2).map("+".join)
WIDTHS = st.integers(1, 5000)
VALUES = {
    "hidden": st.lists(WIDTHS, max_size=3).map(tuple),
    "dropout": st.floats(allow_nan=False, allow_infinity=False),
    "batch_size": st.none() | st.integers(),
    "schedule": st.sampled_from(["constant", "cosine"]),
    "batch_norm": st.booleans(),
    "activation": NAMES,
    "regularizer": st.none() | NAMES,
    "use_cuts": st.lists(JOINED, min_size=1, max_size=3).map(tuple),
    "image_size": st.none() | WIDTHS | st.tuples(WIDTHS, WIDTHS),
    "learning_rate": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "epochs": st.integers(),
}
SPACES = st.dictionaries(
    st.sampled_from(list(KINDS)), st.just(None), min_size=1, max_size=4
).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.lists(VALUES[name], min_size=1, max_size=4, unique=True) for name in names}
    )
)


def typed(value):
    """A value as a user types it."""
    if isinstance(value, tuple):
        parts = (f"({one})" if "+" in str(one) else typed(one) for one in value)
        return "+".join(parts) or "0"
    return {"True": "true", "False": "false", "None": "default"}.get(str(value), str(value))


def values_of(word, kind):
    ((values,),) = (space.values() for space in read_spaces([f"x={word}"], {"x": kind}))
    return values


def draws(word, kind, samples=3000, seed=0):
    points = points_of(read_spaces([f"x={word}"], {"x": kind}), samples, seed)
    return [point["x"] for point in points]


# ---- lists


@given(st.lists(SPACES, min_size=1, max_size=3), st.booleans())
@settings(deadline=None)
def test_what_is_typed_is_what_is_searched(spaces, dashes):
    words = []
    for space in spaces:
        for name, values in space.items():
            shown = name.replace("_", "-") if dashes else name
            words.append(f"{shown}={','.join(map(typed, values))}")
        words.append("or")
    read = read_spaces(words[:-1], KINDS)
    assert read == spaces
    assert [list(space) for space in read] == [list(space) for space in spaces]
    for found, space in zip(read, spaces, strict=True):
        types = [[type(value) for value in values] for values in found.values()]
        assert types == [[type(value) for value in values] for values in space.values()]


@given(st.lists(SPACES, min_size=1, max_size=3))
@settings(deadline=None)
def test_every_point_of_a_grid_is_there_once(spaces):
    expected = {
        frozenset(zip(space, values, strict=True))
        for space in spaces
        for values in itertools.product(*space.values())
    }
    points = points_of(spaces, samples=1, seed=0)
    assert len(points) == len(expected)
    assert {frozenset(point.items()) for point in points} == expected
    assert points == points_of(spaces, samples=1, seed=1)


def test_spaces_come_one_after_the_other():
    spaces = read_spaces(["hidden=0,256+128", "dropout=0,0.5", "or", "hidden=0", "l-2=1"],
                         KINDS | {"l_2": float})  # fmt: skip
    points = points_of(spaces, 1, 0)
    assert points == [
        {"hidden": (), "dropout": 0.0},
        {"hidden": (256, 128), "dropout": 0.0},
        {"hidden": (), "dropout": 0.5},
        {"hidden": (256, 128), "dropout": 0.5},
        {"hidden": (), "l_2": 1.0},
    ]
    assert [list(point) for point in points] == [["hidden", "dropout"]] * 4 + [["hidden", "l_2"]]


def test_a_point_of_two_spaces_is_tried_once():
    spaces = read_spaces(
        ["dropout=0,0.5", "or", "dropout=0.5,1", "or", "dropout=randint(0,3)"], KINDS
    )
    points = points_of(spaces, 100, 0)
    assert [point["dropout"] for point in points[:3]] == [0, 0.5, 1]
    assert [point["dropout"] for point in points[3:]] == [2]


def test_the_options_of_this_program_can_be_searched():
    kinds = typing.get_type_hints(HeadOptions) | typing.get_type_hints(FitOptions)
    words = [
        "hidden=0,64", "l2=default,geomspace(1e-6,0.01,5)", "output=softmax", "batch-norm=true",
        "learning-rate=loguniform(1e-4,1e-2)", "activation=relu,gelu", "epochs=range(5,31,5)",
    ]  # fmt: skip
    (space,) = read_spaces(words, kinds)
    assert space["l2"] == [None, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    assert space["epochs"] == [5, 10, 15, 20, 25, 30]
    assert space["batch_norm"] == [True]


def test_a_name_with_a_plus_stands_in_parentheses():
    kind = tuple[str, ...]
    for word, expected in {
        "identity+(center+flip)": ("identity", "center+flip"),
        "(center+flip)": ("center+flip",),
        "(top-left+flip) + identity + (flip)": ("top-left+flip", "identity", "flip"),
        "center+flip": ("center", "flip"),
    }.items():
        assert values_of(word, kind) == [expected]
    words = "identity,(center+flip)+flip,center+flip"
    values = values_of(words, kind)
    assert values == [("identity",), ("center+flip", "flip"), ("center", "flip")]
    assert ",".join(map(in_words, values)) == words  # as the table has it, it can be typed


def test_every_view_can_be_searched():
    kinds = typing.get_type_hints(BackboneOptions)
    for view in VIEWS:
        (space,) = read_spaces([f"views={in_words((view,))},identity+({view})"], kinds)
        assert space["views"] == [(view,), ("identity", view)]


# ---- computed values


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-9, 9))
def test_range_is_pythons(start, stop, step):
    assume(step and range(start, stop, step))
    expected = list(range(start, stop, step))
    assert values_of(f"range({start}, {stop}, {step})", int) == expected
    assert values_of(f"range({start},{stop},{step})", float | None) == expected
    if step == 1:
        assert values_of(f"range({start},{stop})", int) == expected


def test_a_range_may_be_among_values():
    assert values_of("1,range(2,7,2),default,4,90", int | None) == [1, 2, 4, 6, None, 90]
    assert values_of("range(0,65,32),8+4", tuple[int, ...]) == [(), (32,), (64,), (8, 4)]
    assert values_of("range(96,129,32),96+128", int | tuple[int, int]) == [96, 128, (96, 128)]


@given(
    st.floats(1e-9, 1e9), st.floats(1.001, 1e6), st.integers(2, 12),
    st.sampled_from(["linspace", "geomspace"]),
)  # fmt: skip
def test_spaced_numbers_are_as_far_apart_as_numpy_says(low, factor, number, function):
    high = low * factor
    values = values_of(f"{function}({low!r},{high!r},{number})", float)
    if function == "linspace":
        expected = [low + (high - low) * i / (number - 1) for i in range(number)]
    else:
        expected = [low * (high / low) ** (i / (number - 1)) for i in range(number)]
    np.testing.assert_allclose(values, expected, rtol=0.0006)
    assert (values[0], values[-1]) == (low, high)
    assert values == sorted(set(values))
    assert all(type(value) is float for value in values)


def test_spaced_numbers_are_short_unless_that_makes_them_one():
    assert values_of("linspace(0,0.5,4)", float) == [0, 0.1667, 0.3333, 0.5]
    assert values_of("linspace(1000,1001,5)", float) == [1000, 1000.25, 1000.5, 1000.75, 1001]
    assert values_of("geomspace(16,256,5)", int) == [16, 32, 64, 128, 256]
    assert values_of("geomspace(1,4,7)", int) == [1, 2, 3, 4], "1, 1.26, 1.59, 2, 2.5, 3.2, 4"
    assert values_of("linspace(10000,20000,4)", int) == [10000, 13333, 16667, 20000]


# ---- drawn values


@pytest.mark.parametrize(
    ("word", "quantile"),
    [
        ("uniform(0.1,0.5)", lambda share: 0.1 + 0.4 * share),
        ("uniform(-3,-1)", lambda share: -3 + 2 * share),
        ("loguniform(1e-4,1e-2)", lambda share: 10 ** (-4 + 2 * share)),
    ],
)
def test_distributions_have_the_quantiles_of_their_names(word, quantile):
    random = np.random.RandomState(0)
    distribution = values_of(word, float)
    drawn = np.array([distribution.rvs(random) for _ in range(5000)])
    shares = np.linspace(0.05, 0.95, 19)
    below = [np.mean(drawn < quantile(share)) for share in shares]
    # Four standard deviations of a share among 5,000.
    np.testing.assert_allclose(below, shares, rtol=0, atol=4 * 0.5 / math.sqrt(5000))
    assert quantile(0) <= drawn.min() < quantile(0.002)
    assert quantile(0.998) < drawn.max() <= quantile(1)


def test_whole_numbers_are_drawn_alike_often():
    distribution, random = values_of("randint(3,8)", int), np.random.RandomState(0)
    drawn = [distribution.rvs(random) for _ in range(2000)]
    assert {type(value) for value in drawn} == {int}
    for value in (3, 4, 5, 6, 7):
        # Five standard deviations.
        assert drawn.count(value) == pytest.approx(400, abs=5 * math.sqrt(2000 * 0.2 * 0.8))


@given(
    st.sampled_from(["uniform", "loguniform"]),
    st.floats(1e-9, 1e9),
    st.floats(1e-7, 1e9),
    st.sampled_from([float, float | None]),
    st.integers(0, 2**40),
)
@settings(deadline=None)
def test_drawn_numbers_stay_between_the_bounds(function, low, width, kind, seed):
    high = low + width
    assume(low < high)
    drawn = draws(f"{function}({low!r},{high!r})", kind, 20, seed)
    assert all(type(value) is float and low <= value <= high for value in drawn)
    if high > 1.01 * low:
        assert len(drawn) > 1
        assert any(float(f"{value:.4g}") == value for value in drawn)


@given(
    st.sampled_from(["uniform", "loguniform", "randint"]), st.integers(1, 2**30),
    st.integers(1, 2**30), st.integers(0, 9),
)  # fmt: skip
@settings(deadline=None)
def test_drawn_whole_numbers_stay_between_the_bounds(function, low, width, seed):
    high = low + width
    last = high - 1 if function == "randint" else high
    word = f"{function}({low},{high})"
    drawn = draws(word, int | None, 20, seed)
    assert all(type(value) is int and low <= value <= last for value in drawn)
    assert draws(word, tuple[int, ...], 20, seed) == [(value,) for value in drawn]


def test_drawn_numbers_are_short_unless_that_leaves_the_bounds():
    dropout = values_of("uniform(0,1)", float)
    converted = [dropout.convert(np.float64(number)) for number in (0.123456, 0, 0.99994, 0.99999)]
    assert converted == [0.1235, 0, 0.9999, 0.99999], "a dropout of 1 would stop the sweep"
    narrow = values_of("uniform(1000.1,1000.3)", float)
    assert narrow.convert(1000.2345) == 1000.2345
    # scipy's loguniform may miss its bounds by a rounding error.
    assert [narrow.convert(number) for number in (1000.0999, 1000.3001)] == [1000.1, 1000.3]
    assert values_of("loguniform(10000,99999)", int).convert(12345.6) == 12346
    assert values_of("randint(0,99999)", float).convert(12345) == 12345
    assert set(draws("randint(0,2)", tuple[int, ...], 50)) == {(), (1,)}


def test_the_same_seed_draws_the_same_points():
    words = ["dropout=uniform(0,0.5)", "hidden=0,64,64+32", "or", "learning-rate=uniform(0,0.5)"]
    spaces = read_spaces(words, KINDS)
    points = points_of(spaces, 12, seed=3)
    assert points == points_of(read_spaces(words, KINDS), 12, seed=3)
    assert points != points_of(spaces, 12, seed=4)
    # Twelve from each space; those of the second are not the first's again.
    assert [sorted(point) for point in points] == [["dropout", "hidden"]] * 12 + [
        ["learning_rate"]
    ] * 12
    first, second = ({point.get(name) for point in points} for name in ("dropout", "learning_rate"))
    assert first & second == {None}
    assert {point.get("hidden") for point in points[:12]} == {(), (64,), (64, 32)}


def test_points_are_plain_python():
    words = ["hidden=randint(16,256)", "dropout=uniform(0,0.5)", "image-size=default,64+96",
             "batch-norm=true,false", "schedule=cosine", "or", "l=geomspace(1,2,3)"]  # fmt: skip
    points = points_of(read_spaces(words, KINDS | {"l": float}), 10, 0)
    plain = json.loads(json.dumps(points))
    as_lists = [
        {name: list(value) if isinstance(value, tuple) else value for name, value in point.items()}
        for point in points
    ]
    assert plain == as_lists
    assert {type(value) for point in points for value in point.values()} <= {
        int, float, str, bool, tuple, type(None)
    }  # fmt: skip
    assert isinstance(read_spaces(words, KINDS | {"l": float})[0]["hidden"], Distribution)


# ---- what is refused

CALLS = (
    "range(start,stop) or range(start,stop,step), linspace(low,high,number), "
    "geomspace(low,high,number), uniform(low,high), loguniform(low,high), randint(low,high)"
)
NAMES_JOINED = "names joined by +, those with a + in parentheses"
EVERY_NAME = (
    "activation, batch-norm, batch-size, dropout, epochs, hidden, image-size, learning-rate, "
    "regularizer, schedule, use-cuts"
)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dropout", "name=value,value, or the word or between two spaces"),
        ("leaning-rate=1", "a name that can be searched, such as learning-rate"),
        ("zzzzzz=1", f"a name that can be searched, such as {EVERY_NAME}"),
        ("=1", f"a name that can be searched, such as {EVERY_NAME}"),
        # Malformed values.
        ("dropout=", "numbers for dropout"),
        ("dropout=0,,1", "numbers for dropout"),
        ("activation=relu,", "names for activation"),
        ("dropout=uniform(0,1", f"values, or one of {CALLS} for dropout"),
        ("dropout=0)", f"values, or one of {CALLS} for dropout"),
        ("dropout=normal(0,1)", f"values, or one of {CALLS} for dropout"),
        ("dropout=uniform(0,1)2", f"values, or one of {CALLS} for dropout"),
        ("dropout=uniform(0)", "uniform(low,high) of numbers for dropout"),
        ("dropout=uniform(0,x)", "uniform(low,high) of numbers for dropout"),
        ("dropout=uniform(0,inf)", "uniform(low,high) of numbers for dropout"),
        ("dropout=uniform(nan,1)", "uniform(low,high) of numbers for dropout"),
        ("epochs=randint(0,1.5)", "randint(low,high) of whole numbers for epochs"),
        ("epochs=randint(0,99999999999999999999)", "randint(low,high) of whole numbers for epochs"),
        ("epochs=range(4)",
         "range(start,stop) or range(start,stop,step) of whole numbers for epochs"),
        ("epochs=linspace(1,4)", "linspace(low,high,number) of numbers for epochs"),
        ("dropout=linspace(0,1,1)",
         "a whole number of at least 2 as the third of linspace(low,high,number) for dropout"),
        ("dropout=linspace(0,1,2.5)",
         "a whole number of at least 2 as the third of linspace(low,high,number) for dropout"),
        ("epochs=range(1,5,0)", "a range with numbers in it for epochs"),
        ("epochs=range(5,1)", "a range with numbers in it for epochs"),
        # Values of another type.
        ("dropout=high", "numbers for dropout"),
        ("dropout=nan", "numbers for dropout"),
        ("dropout=default", "numbers for dropout"),
        ("epochs=1.5", "whole numbers for epochs"),
        ("batch-size=1.5", "whole numbers or default for batch-size"),
        ("hidden=256+x", "whole numbers joined by +, 0 for none for hidden"),
        ("hidden=256+0", "whole numbers joined by +, 0 for none for hidden"),
        ("image_size=1+2+3",
         "whole numbers or 2 whole numbers joined by + or default for image-size"),
        ("use-cuts=top+", f"{NAMES_JOINED} for use-cuts"),
        ("use-cuts=(a+b", f"{NAMES_JOINED} for use-cuts"),
        ("use-cuts=a+b)", f"{NAMES_JOINED} for use-cuts"),
        ("use-cuts=()", f"{NAMES_JOINED} for use-cuts"),
        ("use-cuts=(a,b)", f"{NAMES_JOINED} for use-cuts"),
        ("use-cuts=(a+b)c", f"{NAMES_JOINED} for use-cuts"),
        ("use-cuts=((a+b)+c)", f"{NAMES_JOINED} for use-cuts"),
        ("hidden=(256+128)", "whole numbers joined by +, 0 for none for hidden"),
        ("dropout=(0.5)", "numbers for dropout"),
        ("batch-norm=1", "true or false for batch-norm"),
        ("schedule=linear", "constant or cosine for schedule"),
        ("schedule=range(1,3)", "constant or cosine for schedule"),
        ("batch-norm=randint(0,2)", "true or false for batch-norm"),
        ("use-cuts=uniform(0,1)", f"{NAMES_JOINED} for use-cuts"),
        # Numbers that do not go together.
        ("dropout=0,uniform(0,1)",
         "a list without uniform, which has to stand alone for dropout"),
        ("dropout=randint(0,4),1", "a list without randint, which has to stand alone for dropout"),
        ("dropout=uniform(1,1)", "a low below the high in uniform(low,high) for dropout"),
        ("dropout=loguniform(1,0.1)", "a low below the high in loguniform(low,high) for dropout"),
        ("epochs=randint(3,3)", "a low below the high in randint(low,high) for epochs"),
        ("dropout=linspace(1,0,5)",
         "a low below the high in linspace(low,high,number) for dropout"),
        ("dropout=loguniform(0,1)", "a low above 0 in loguniform(low,high) for dropout"),
        ("dropout=geomspace(-1,1,3)", "a low above 0 in geomspace(low,high,number) for dropout"),
        ("epochs=uniform(0.5,3)", "whole numbers as low and high in uniform(low,high) for epochs"),
        ("hidden=loguniform(1,3.5)",
         "whole numbers as low and high in loguniform(low,high) for hidden"),
        # Too many.
        ("epochs=range(0,100001)", "at most 100,000 values for epochs"),
        ("epochs=range(0,9000000000000000)", "at most 100,000 values for epochs"),
        ("dropout=linspace(0,1,1e15)", "at most 100,000 values for dropout"),
    ],
)  # fmt: skip
def test_words_that_cannot_be_searched_are_refused(word, expected):
    with pytest.raises(InputError) as caught:
        read_spaces(["hidden=0" if "hidden" not in word else "epochs=1", word], KINDS)
    assert str(caught.value) == f"--grid expects {expected}; received {word!r}"


@pytest.mark.parametrize(
    "words",
    [(), ("or",), ("epochs=1", "or"), ("or", "epochs=1"), ("epochs=1", "or", "or", "epochs=2")],
)
def test_empty_spaces_are_refused(words):
    with pytest.raises(InputError) as caught:
        read_spaces(words, KINDS)
    assert str(caught.value) == (
        "--grid expects at least one name=value,value on each side of or, and one in all; "
        f"received {' '.join(words)!r}"
    )


def test_a_name_is_given_once_a_space():
    read_spaces(["batch-size=1", "or", "batch_size=2"], KINDS)
    with pytest.raises(InputError) as caught:
        read_spaces(["batch-size=1", "epochs=1", "batch_size=2"], KINDS)
    assert str(caught.value) == (
        "--grid expects each name once between one or and the next; received 'batch_size=2'"
    )


def test_too_many_points_are_refused():
    grid = ["epochs=range(0,1000)", "dropout=linspace(0,1,100)"]
    assert len(points_of(read_spaces(grid, KINDS), 1, 0)) == 100_000
    refusal = "--grid expects at most 100,000 points; received 100,001; give fewer values"
    with pytest.raises(InputError) as caught:
        read_spaces([*grid, "or", "epochs=5"], KINDS)
    assert str(caught.value) == refusal
    spaces = read_spaces(["dropout=uniform(0,1)"], KINDS)
    with pytest.raises(InputError) as caught:
        points_of(spaces, 100_001, 0)
    assert str(caught.value) == refusal
    with pytest.raises(ValueError, match="at least one sample, received 0"):
        points_of(spaces, 0, 0)


def test_a_type_that_cannot_be_typed_is_the_programmers_error():
    with pytest.raises(TypeError, match=r"whose values can be typed, received dict"):
        read_spaces(["a=1"], {"a": dict[str, int]})

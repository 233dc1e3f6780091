"""The language of rules: what it says, what it refuses and how, and that no text does anything else."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.expression import CHARS_MAX, DEPTH_MAX, FLAG, NUMBER, TEXT, Kind, Undefined, parse

GEARS = ("park", "reverse", "neutral", "drive")
KINDS = {"speed_mps": NUMBER, "yaw": NUMBER, "gear": Kind("text", GEARS), "brake": FLAG, "mode": TEXT}
NOW = {"speed_mps": 10.0, "yaw": -2.0, "gear": "drive", "brake": False, "mode": "été"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("speed_mps < 20 and gear != 'reverse'", True),
        ("0 < speed_mps < 10", False),
        ("0 < speed_mps <= 10 > yaw", True),
        ("speed_mps * 3.6 == 36", True),
        ("2 + 3 * 4 == 14 and (2 + 3) * 4 == 20", True),
        ("10 - 4 - 3 == 3 and 100 / 10 / 5 == 2", True),
        ("-yaw == 2 and - -yaw == -2 and 1 - -1 == 2", True),
        ("-7 % 5 == 3 and 7 % -5 == -3", True),  # the sign of the divisor, as in Python
        ("not brake and not (brake or speed_mps > 10)", True),
        ("not brake == true", True),
        ("brake or true and false", False),
        ("brake", False),
        ("true", True),
        ('mode == "été"', True),
        ("'drive' == gear", True),
        ("gear == mode", False),
        (".5 + 5e-1 == 1.", True),
        ("  speed_mps\t>\t1  ", True),
        (r"mode == '\n'", False),
    ],
)
def test_it_says_what_it_says_in_python(text, value):
    assert parse(text, KINDS).value(NOW) is value


def test_it_knows_its_text_and_names():
    rule = parse("speed_mps < 20 and gear != 'reverse'", KINDS)
    assert rule.text == "speed_mps < 20 and gear != 'reverse'"
    assert rule.names == {"speed_mps", "gear"}
    assert rule == parse(rule.text, KINDS)
    assert rule != parse("speed_mps < 20", KINDS)


OPERATORS = "and, or, <, <=, >, >=, ==, !=, +, -, *, /, %"
STARTS = "a name, a number, a text in quotes, true, false, not, - or ("
NAMES = "brake, gear, mode, speed_mps, yaw"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", f"column 1: expected {STARTS}, got the end"),
        ("brake and", f"column 10: expected {STARTS}, got the end"),
        ("and brake", f"column 1: expected {STARTS}, got 'and'"),
        ("(brake", "column 7: expected an operator or ), got the end"),
        ("brake)", f"column 6: expected one of {OPERATORS}, or the end, got ')'"),
        ("speed_mps", "column 1: the whole must be true or false, and is a number; compare it"),
        ("'a'", "column 1: the whole must be true or false, and is a text; compare it"),
        ("sped_mps < 2", "column 1: there is no 'sped_mps'; did you mean 'speed_mps'?"),
        ("xyz < 2", f"column 1: there is no 'xyz'; there are {NAMES}"),
        ("gear == 'revers'", "column 9: it is never 'revers'; did you mean 'reverse'?"),
        ("'up' != gear", "column 1: it is never 'up'; there are drive, neutral, park, reverse"),
        ("gear < 3", "column 1: '<' is for numbers, and this is a text"),
        ("0 < brake < 3", "column 5: '<' is for numbers, and this is a flag"),
        ("brake == 1", "column 7: a flag is never equal to a number"),
        ("speed_mps == '3'", "column 11: a number is never equal to a text"),
        ("speed_mps + mode > 1", "column 13: '+' is for numbers, and this is a text"),
        ("-brake", "column 2: '-' is for numbers, and this is a flag"),
        ("not speed_mps", "column 5: 'not' is for flags, and this is a number"),
        ("brake and speed_mps", "column 11: 'and' is for flags, and this is a number"),
        ("speed_mps = 3", "column 11: '=' is not allowed; write == to compare"),
        ("brake && brake", "column 7: '&&' is not allowed; write and"),
        ("brake || brake", "column 7: '||' is not allowed; write or"),
        ("!brake", "column 1: '!' is not allowed; write not"),
        ("speed_mps <> 1", "column 11: '<>' is not allowed; write !="),
        ("2 ** 9999 > 1", "column 3: '**' is not allowed; write a product"),
        ("7 // 2 > 1", "column 3: '//' is not allowed; write /"),
        ("brake AND brake", "column 7: 'AND' is not allowed; write and"),
        ("True", "column 1: there is no 'True'; write true"),
        ("speed_mps.real > 1", "column 10: '.' is not allowed; a name has no parts"),
        ("speed_mps(3)", "column 1: 'speed_mps' is a number and cannot be called"),
        ("__import__('os')", f"column 1: there is no '__import__'; there are {NAMES}"),
        ("mode[0] == 'a'", f"column 5: expected one of {OPERATORS}, or the end, got '['"),
        ("[brake]", f"column 1: expected {STARTS}, got '['"),
        ("brake if brake else brake", f"column 7: expected one of {OPERATORS}, or the end, got 'if'"),
        ("gear is 'park'", f"column 6: expected one of {OPERATORS}, or the end, got 'is'"),
        ("gear in mode", f"column 6: expected one of {OPERATORS}, or the end, got 'in'"),
        ("(brake := true)", "column 8: expected an operator or ), got ':='"),
        ("lambda: 1", f"column 1: there is no 'lambda'; there are {NAMES}"),
        ("f'{brake}' == mode", f"column 1: there is no 'f'; there are {NAMES}"),
        ("speed_mps & 1 > 0", f"column 11: expected one of {OPERATORS}, or the end, got '&'"),
        ("1_000 > 1", f"column 2: expected one of {OPERATORS}, or the end, got '_000'"),
        ("0x10 > 1", f"column 2: expected one of {OPERATORS}, or the end, got 'x10'"),
        ("1e999 > 1", "column 1: number '1e999' is too large"),
        ("mode == 'abc", "column 9: the text that starts here has no closing '"),
        ("brake # why", "column 7: '#' is not allowed"),
        ("٠ < 1", "column 1: '٠' is not allowed"),
        ("brake\nand brake", "column 6: '\\n' is not allowed"),
        ("brake\0", "column 6: '\\x00' is not allowed"),
    ],
)
def test_a_fault_names_the_column_and_what_is_allowed(text, fault):
    with pytest.raises(ValueError, match="column") as caught:
        parse(text, KINDS)
    assert str(caught.value) == fault


@pytest.mark.parametrize(
    "text",
    ["x" * 10_000, "(" * 5000 + "brake" + ")" * 5000, "9" * 100_000 + " > 1", " " * (CHARS_MAX + 1)],
    ids=["letters", "parentheses", "digits", "blanks"],
)
def test_a_text_of_any_length_is_refused_by_its_length(text):
    with pytest.raises(ValueError, match=f"at most {CHARS_MAX} characters, got {len(text)}"):
        parse(text, KINDS)


@pytest.mark.parametrize(
    ("start", "middle", "end"),
    [("(", "brake", ")"), ("not ", "brake", ""), ("-", "1 > 0", ""), ("(not ", "brake", ")"), ("-(", "1", ")>0")],
)
def test_a_deeper_text_than_allowed_is_refused(start, middle, end):
    with pytest.raises(ValueError, match=f"nested deeper than {DEPTH_MAX} levels"):
        parse(start * (DEPTH_MAX + 1) + middle + end * (DEPTH_MAX + 1), KINDS)


def test_everything_that_is_allowed_compiles_however_deep_and_long():
    assert parse("(brake or true and " * DEPTH_MAX + "1<2" + ")" * DEPTH_MAX, KINDS).value(NOW)
    assert parse("(1+2*" * DEPTH_MAX + "1" + ")" * DEPTH_MAX + " > 0", KINDS).value(NOW)
    assert parse("+".join(["1"] * 499) + ">0", KINDS).value(NOW)
    assert not parse("<".join(["1"] * 499), KINDS).value(NOW)
    assert not parse(" or ".join(["brake"] * 111), KINDS).value(NOW)


@pytest.mark.parametrize("text", ["1 / 0 > 1", "speed_mps / (yaw + 2) > 1", "5 % 0 > 1", "brake or 1 / 0 > 1"])
def test_a_division_by_zero_is_told_when_it_happens(text):
    with pytest.raises(Undefined, match="^division by zero$"):
        parse(text, KINDS).value(NOW)


@pytest.mark.parametrize(
    "text",
    [
        "1e308 * 10 > 1",
        "1e308 + 1e308 > 1",
        "1 / (1e308 * 10) >= 0",
        "1e308 * 10 * 0 >= 0",
        "1e308 / 1e-10 > 1",
        "-(1e308 * speed_mps) < 0",
        "speed_mps < 1e308 * 10 - 1",
    ],
)
def test_a_number_that_is_too_large_is_told_when_it_happens(text):
    with pytest.raises(Undefined, match="^a number is too large$"):
        parse(text, KINDS).value(NOW)


def test_what_is_not_looked_at_cannot_fail():
    assert parse("brake or speed_mps > 1 or 1 / 0 > 1", KINDS).value(NOW)


SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod}


@st.composite
def sums(draw: st.DrawFn, depth: int = 3) -> tuple[str, float | None]:
    """An arithmetic text in full parentheses, and its value; None where it has none."""
    if depth == 0 or draw(st.booleans()):
        number = draw(st.floats(0, 1e300, allow_subnormal=False))
        return repr(number), number
    left, a = draw(sums(depth - 1))
    right, b = draw(sums(depth - 1))
    sign = draw(st.sampled_from(sorted(SIGNS)))
    if a is None or b is None or (sign in "/%" and b == 0):
        return f"({left} {sign} {right})", None
    value = SIGNS[sign](a, b)
    return f"({left} {sign} {right})", value if math.isfinite(value) else None


@given(sums(), st.floats(-1e300, 1e300))
def test_arithmetic_is_pythons_or_has_no_value(made, limit):
    text, value = made
    rule = parse(f"{text} < {limit!r}", KINDS)
    if value is None:
        with pytest.raises(Undefined):
            rule.value(NOW)
    else:
        assert rule.value(NOW) is (value < limit)


WORDS = st.sampled_from(
    [*KINDS, "and", "or", "not", "true", "(", ")", "<", "==", "+", "-", "/", "%", "1", "2.5", "'park'", "'x'", "=", "."]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)))
def test_any_text_at_all_is_refused_by_column_or_has_a_value_or_says_why_not(text):
    try:
        rule = parse(text, KINDS)
    except ValueError as exc:
        assert str(exc).startswith("column ")  # noqa: PT017
        return
    try:
        assert rule.value(NOW) in (True, False)
    except Undefined as exc:
        assert str(exc)  # noqa: PT017

"""What the YAML reader refuses, and the lines it keeps; with libyaml and with the Python parser."""

from __future__ import annotations

import re
import time

import pytest
import yaml

from edged.config import document

FILE = "edged.yaml"
HERE = "conf/edged.yaml"

PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.fixture(autouse=True, params=PARSERS, ids=lambda loader: loader.__name__)
def parser(request, monkeypatch):
    monkeypatch.setattr(document, "Loader", request.param)


REFUSED: list[tuple[str | bytes, list[str]]] = [
    ("log: {level: info}\nlog: {level: debug}\n", ["2: log: given twice, first in line 1"]),
    (
        "log:\n  level: info\n  'level': x\n  level: x\n",
        [
            "3: log.level: given twice, first in line 2",
            "4: log.level: given twice, first in line 2",
        ],
    ),
    ("log: &a {level: info}\n", ["1: log: anchor &a is not allowed; write the value out where it is used"]),
    (
        "log: &a {level: info}\nlimits: *a\n",
        [
            "1: log: anchor &a is not allowed; write the value out where it is used",
            "2: limits: alias *a is not allowed; write the value out",
        ],
    ),
    ("<<: {level: info}\n", ["1: merge key << is not allowed; write the keys out"]),
    ("log:\n  <<: {level: info}\n", ["2: log: merge key << is not allowed; write the keys out"]),
    ("log: !custom {level: info}\n", ["1: log: tag '!custom' is not allowed; write a plain value"]),
    (
        "log: {level: !!python/name:os.system x}\n",
        [
            "1: log.level: tag 'tag:yaml.org,2002:python/name:os.system' is not allowed; write a plain value",
        ],
    ),
    ("log: {level: !!str info}\n", ["1: log.level: tag 'tag:yaml.org,2002:str' is not allowed; write a plain value"]),
    (
        "log: {level: info}\n---\nlog: {}\n",
        [
            "2: a second document starts here (---); one file is one document",
        ],
    ),
    ("1: x\n", ["1: key '1': must be a text, got 1; quote it"]),
    ("true: x\n", ["1: key 'true': must be a text, got true; quote it"]),
    (
        "on: x\n",
        [
            "1: key 'on': on is a truth value to YAML 1.1 and a text to 1.2; write true or false, or quote the text",
        ],
    ),
    ("~: x\n", ["1: key '~': has no value; give one, or leave the key out"]),
    ("2024-01-02: x\n", ["1: key '2024-01-02': '2024-01-02' is a date in YAML; quote it"]),
    ("? [a, b]\n: x\n", ["1: a key must be a text, not a list or a map"]),
    (
        "? &x a\n: x\n",
        [
            "1: key 'a' has an anchor or a tag; write the plain key",
            "1: a: unknown key; allowed: control, engines, limits, log, metrics, publish, scheduler, signals",
        ],
    ),
    (
        "log: {level: [yes, 1:30, 017, 0x1f, 12_3, 2024-01-02 10:00:00]}\n",
        [
            "1: log.level.0: yes is a truth value to YAML 1.1 and a text to 1.2; "
            "write true or false, or quote the text",
            "1: log.level.1: 1:30 is a number in base 60 to some YAML versions; write it as one number, or quote it",
            "1: log.level.2: '017' is not a plain decimal number; write it as one, or quote it if it is a text",
            "1: log.level.3: '0x1f' is not a plain decimal number; write it as one, or quote it if it is a text",
            "1: log.level.4: '12_3' is not a plain decimal number; write it as one, or quote it if it is a text",
            "1: log.level.5: '2024-01-02 10:00:00' is a date in YAML; quote it",
            "1: log.level: must be debug, info, warning or error, got [nothing, nothing, nothing, nothing, nothing, "
            "nothing]",
        ],
    ),
    ("log:\n  level: info\n\tx: 1\n", ["3: not valid YAML: a tab where only spaces are allowed"]),
    ("log:\n  level: \0\n", ["2: character U+0000 is not allowed in YAML; remove it"]),
    (b"log:\n  level: \xff\n", ["2: byte 0xff is not UTF-8; save the file as UTF-8"]),
    ("log: {}\n".encode("utf-16"), ["1: byte 0xff is not UTF-8; save the file as UTF-8"]),
    (b" " * 1_000_001, ["1: larger than 1 MB; at most 1000000 bytes are read"]),
    ('log: {level: "a\\0b"}\n', ["1: log.level: control characters are not allowed, got 'a\\x00b'"]),
    ("\n\nx: " + "[" * 40 + "]" * 40, ["3: nested deeper than 32 levels"]),
    ("\nx: [" + "1," * 20_001 + "]", ["2: more than 20000 values in one file"]),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[str(row) for row in range(len(REFUSED))])
def test_what_yaml_allows_and_we_do_not_is_refused_by_its_line(text, expected, faults):
    assert faults({FILE: text}) == [f"{HERE}:{line}" for line in expected]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("log: {level: info\n", 2),
        ("log: ]\n", 1),
        ("a: b: c\n", 1),
        ("log: 'x\n", 2),
        ("x: @y\n", 1),
        ('x: "\\UFFFFFFFF"', 1),
        ("%YAML 3.0\n--- {}\n", 1),
    ],
)
def test_a_syntax_error_keeps_its_line_and_the_parsers_words(text, line, faults):
    (fault,) = faults({FILE: text})
    assert re.match(rf"{HERE}:{line}: not valid YAML: \S+ ", fault)


def test_a_yaml_bomb_costs_nothing(faults):
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    start_s = time.monotonic()
    lines = faults({FILE: bomb})
    assert f"{HERE}:2: b.0: alias *a is not allowed; write the value out" in lines
    assert time.monotonic() - start_s < 5


def test_deep_nesting_ends_reading_before_anything_recurses(faults):
    assert faults({FILE: "x: " + "[" * 400_000}) == [f"{HERE}:1: nested deeper than 32 levels"]


def test_plain_values_become_what_they_look_like():
    faults: list[object] = []
    text = (
        "a: 1\nb: -1.5\nc: 1e3\nd: .5\ne: true\nf: False\ng: text\nh: '1'\ni: \"on\"\nj: 1.2.3\nk: -\nl: =\n"
        "m: 10.0.0.1:80\nn: |\n  two\n  lines\no: 0\np: +7\nq: -x\nr: 5x\ns: 'é'\nt: .inf\n"
    )
    read = document.parse_document(text.replace("k: -\n", "k: '-'\n"), FILE, faults)  # type: ignore[arg-type]
    assert faults == []
    assert read.data == {
        "a": 1, "b": -1.5, "c": 1000.0, "d": 0.5, "e": True, "f": False, "g": "text", "h": "1", "i": "on",
        "j": "1.2.3", "k": "-", "l": "=", "m": "10.0.0.1:80", "n": "two\nlines\n", "o": 0, "p": 7, "q": "-x",
        "r": "5x", "s": "é", "t": float("inf"),
    }  # fmt: skip


def test_lines_are_those_of_keys_and_of_list_items():
    read = document.parse_document(
        "# top\na:\n  b: 1\n  c:\n    - x\n    - d: 2\n      e: 3\nf: {g: 4,\n  h: 5}\n", FILE, []
    )
    lines = {".".join(map(str, place)): line for place, line in read.lines.items() if place}
    assert lines == {
        "a": 2, "a.b": 3, "a.c": 4, "a.c.0": 5, "a.c.1": 6, "a.c.1.d": 6, "a.c.1.e": 7, "f": 8, "f.g": 8, "f.h": 9
    }  # fmt: skip
    assert read.line(("a", "c", 1, "nothing", "here")) == 6
    assert read.line(("nothing",)) == 2


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "---\n", "--- # nothing\n", "\ufeff# a byte order mark\n", "{}\n"]
)
def test_a_file_that_says_nothing_is_an_empty_map(text, write):
    from edged.config import EdgedConfig, load_config

    assert load_config(write({FILE: text})).edged == EdgedConfig()

"""The signal book: what it takes, what it refuses, what is stale, and whom it wakes."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.cli import main
from edged.cli.signal import parsed
from edged.config.task import WhenConfig
from edged.control.server import ControlServer
from edged.errors import UsageError
from edged.expression import NUMBER, TEXT, Kind
from edged.scheduler.rules import when_rule
from edged.scheduler.signals import SignalBook
from edged.signals import KINDS, SIGNALS, kinds_with

OWN = {"load_kg": NUMBER, "driver": TEXT, "mode": Kind("text", ("city", "highway"))}
ALL = ", ".join(sorted({**KINDS, **OWN}))


class Place:
    """A book in simulated time, the calls of `changed` counted."""

    def __init__(self, *conditions: str) -> None:
        self.now_s, self.unix_s, self.calls = 100.0, 1_700_000_000.0, 0
        self.book = SignalBook(kinds_with(OWN), 1.0, self._changed, lambda: self.now_s, lambda: self.unix_s)
        self.book.watch(when_rule(WhenConfig.model_validate({"if": text}), self.book.kinds) for text in conditions)

    def _changed(self) -> None:
        self.calls += 1

    def set(self, **signals: object) -> dict:
        return self.book.set({"signals": signals})

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.unix_s += seconds


@pytest.fixture
def place():
    return Place()


def test_values_are_kept_as_their_kind_and_reported(place):
    answer = place.set(speed_mps=3, gear="drive", brake=True, driver="Jo")
    place.later(0.25)
    assert answer["signals"][0] == {"signal": "speed_mps", "value": 3.0, "age_ms": 0.0, "stale": False}
    assert isinstance(place.book.readings.values["speed_mps"], float)
    assert [(one["signal"], one["value"], one["age_ms"], one["stale"]) for one in place.book.report(place.now_s)] == [
        ("brake", True, 250.0, False),
        ("driver", "Jo", 250.0, False),
        ("gear", "drive", 250.0, False),
        ("speed_mps", 3.0, 250.0, False),
    ]


def test_the_report_has_what_a_rule_reads_and_the_listing_has_everything():
    place = Place("speed_mps < 3 and mode == 'city'")
    place.set(mode="city")
    assert place.book.report() == [
        {"signal": "mode", "value": "city", "age_ms": 0.0, "stale": False},
        {"signal": "speed_mps", "value": None, "age_ms": None, "stale": True},
    ]
    listed = {one["signal"]: one for one in place.book.listing()["signals"]}
    assert listed.keys() == KINDS.keys() | OWN.keys()
    assert listed["gear"]["allowed"] == ["park", "reverse", "neutral", "drive"]
    assert (listed["speed_mps"]["kind"], listed["speed_mps"]["unit"]) == ("number", "m/s")
    assert listed["mode"]["meaning"] == "declared in edged.yaml"


@pytest.mark.parametrize(
    ("signals", "text"),
    [
        (None, "signals must be a map of names to values, got nothing"),
        ({}, "signals must be a map of names to values, got {}"),
        ([1], "signals must be a map of names to values, got [1]"),
        ({"sped_mps": 1}, f"no signal 'sped_mps'; did you mean 'speed_mps'? there are {ALL}"),
        ({"\x1b[1m": 1}, rf"no signal '\x1b[1m'; there are {ALL}"),
        ({1: 1}, f"no signal 1; there are {ALL}"),
        ({"speed_mps": "3"}, "speed_mps must be a number from -1e12 to 1e12, got '3'"),
        ({"speed_mps": True}, "speed_mps must be a number from -1e12 to 1e12, got true"),
        ({"speed_mps": float("nan")}, "speed_mps must be a number from -1e12 to 1e12, got nan"),
        ({"speed_mps": float("inf")}, "speed_mps must be a number from -1e12 to 1e12, got inf"),
        ({"speed_mps": 2**63}, f"speed_mps must be a number from -1e12 to 1e12, got {2**63}"),
        ({"speed_mps": None}, "speed_mps must be a number from -1e12 to 1e12, got nothing"),
        ({"brake": 1}, "brake must be true or false, got 1"),
        ({"gear": "revers"}, "gear must be one of park, reverse, neutral, drive, got 'revers'"),
        ({"gear": 1}, "gear must be a text of at most 64 printable characters, got 1"),
        ({"driver": "x" * 65}, f"driver must be a text of at most 64 printable characters, got '{'x' * 65}'"),
        ({"driver": "a\x1b"}, r"driver must be a text of at most 64 printable characters, got 'a\x1b'"),
    ],
)
def test_what_is_no_signal_is_refused_and_nothing_of_it_is_taken(place, signals, text):
    with pytest.raises(UsageError) as caught:
        place.book.set({"signals": {"load_kg": 5, **signals} if isinstance(signals, dict) and signals else signals})
    assert str(caught.value) == text
    assert place.book.readings.values == {}


def test_the_time_of_measuring_counts(place):
    place.book.set({"signals": {"speed_mps": 1}, "mono_ns": int((place.now_s - 0.4) * 1e9)})
    place.book.set({"signals": {"brake": True}, "unix_ns": int((place.unix_s - 0.3) * 1e9)})
    assert [one["age_ms"] for one in place.book.report()] == [pytest.approx(300, abs=1), pytest.approx(400, abs=1)]
    place.later(0.65)
    assert [one["stale"] for one in place.book.report()] == [False, True]


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ({"mono_ns": 101_000_000_000}, "mono_ns is 1.000 s in the future; at most 0.5 s are allowed"),
        (
            {"unix_ns": 1_700_003_600_000_000_000},
            "unix_ns is 3600.000 s in the future; at most 5 s are allowed",
        ),
        ({"mono_ns": -1}, "mono_ns must be a whole number of nanoseconds, got -1"),
        ({"mono_ns": 1.5}, "mono_ns must be a whole number of nanoseconds, got 1.5"),
        ({"unix_ns": True}, "unix_ns must be a whole number of nanoseconds, got true"),
        ({"mono_ns": 99_000_000_000}, "speed_mps is known from 1.000 s later; nothing was taken"),
    ],
)
def test_a_time_that_cannot_be_is_refused(place, times, text):
    place.set(speed_mps=1)
    with pytest.raises(UsageError) as caught:
        place.book.set({"signals": {"brake": True, "speed_mps": 2}, **times})
    assert str(caught.value) == text
    assert place.book.readings.values == {"speed_mps": 1.0}


def test_a_sender_whose_clock_is_a_little_ahead_is_now(place):
    place.book.set({"signals": {"speed_mps": 1}, "mono_ns": int((place.now_s + 0.4) * 1e9)})
    assert place.book.report()[0]["age_ms"] == 0
    place.set(speed_mps=2)


def test_a_step_of_the_wall_clock_makes_nothing_older_or_newer(place):
    for step_s in (0.0, 3600.0, -7200.0):
        place.unix_s += step_s
        place.later(0.01)
        place.book.set({"signals": {"speed_mps": step_s}, "unix_ns": int(place.unix_s * 1e9)})
        assert place.book.report()[0]["age_ms"] == pytest.approx(0, abs=0.1)


def test_what_is_missing_is_said_in_words_that_stay_while_it_is(place):
    place.set(speed_mps=1)
    place.later(1.0)
    assert place.book.missing({"speed_mps"}, place.now_s) == ""
    place.later(0.01)
    said = "gear was never set; speed_mps is stale: nothing for more than 1 s"
    assert place.book.missing({"speed_mps", "gear"}, place.now_s) == said
    place.later(77)
    assert place.book.missing({"speed_mps", "gear"}, place.now_s) == said


def test_it_calls_only_when_what_a_rule_says_changes():
    place = Place("speed_mps < 5", "speed_mps < 5 and brake", "gear == 'reverse' and 1 / speed_mps > 0")
    place.set(speed_mps=1)
    assert place.calls == 1
    for speed_mps in (1, 2, 3, 4.9):
        place.set(speed_mps=speed_mps, ambient_c=speed_mps)
    assert place.calls == 1
    place.set(speed_mps=5)
    assert place.calls == 2
    place.set(brake=True, gear="reverse")
    assert place.calls == 3
    place.set(speed_mps=6, brake=True, gear="reverse")
    assert place.calls == 3
    place.set(speed_mps=0)  # two rules change at once
    assert place.calls == 4


def test_it_calls_when_a_signal_is_back_though_it_has_the_same_value():
    place = Place("speed_mps < 5")
    place.set(speed_mps=1)
    place.later(2)
    place.set(speed_mps=1)
    assert place.calls == 2
    place.set(speed_mps=1)
    assert place.calls == 2
    place.later(5)
    for _ in range(3):  # what comes too old does not bring it back
        place.book.set({"signals": {"speed_mps": 1}, "mono_ns": int((place.now_s - 3) * 1e9)})
        place.later(0.01)
    assert place.calls == 2


def test_other_signals_after_a_reload_leave_what_is_known_of_the_rest(place):
    place.set(speed_mps=1, load_kg=5, mode="city")
    place.book.redefine(kinds_with({"load_kg": TEXT, "mode": OWN["mode"]}), 3.0)
    assert place.book.readings.values == {"speed_mps": 1.0, "mode": "city"}
    with pytest.raises(UsageError, match="no signal 'driver'"):
        place.set(driver="x")
    place.later(2.5)
    assert place.book.missing({"mode"}, place.now_s) == ""


def test_readers_in_other_threads_see_all_of_a_message_or_nothing(place):
    torn, stop = [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            values = place.book.readings.values
            if values.get("speed_mps") != values.get("load_kg"):
                torn.append(values)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(3000):
        place.set(speed_mps=number, load_kg=number)
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
names = st.sampled_from([*OWN, "speed_mps", "gear", "brake", "x"])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "signals": st.one_of(anything, st.dictionaries(names, anything, max_size=3)),
            "mono_ns": anything,
            "unix_ns": anything,
        },
    )
)
def test_anything_at_all_is_taken_whole_or_refused_whole(args):
    place = Place("speed_mps < 5 and gear == 'drive'", "1 / load_kg > 0")
    place.set(load_kg=1)
    before = place.book.readings
    try:
        place.book.set(args)
    except UsageError:
        assert place.book.readings is before
    else:
        assert args["signals"].keys() <= place.book.readings.values.keys()


def test_the_page_has_every_signal():
    page = (Path(__file__).parents[3] / "docs/rules.md").read_text()
    for signal in SIGNALS.values():
        allowed = ", ".join(f"`{text}`" for text in signal.kind.allowed) or signal.kind.base
        assert f"| `{signal.name}` | {allowed} | {signal.unit or '-'} | {signal.meaning} |" in page


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def signal(tmp_path, monkeypatch):
    """Run `edged signal` against a book behind a control socket; with the lines of standard input, if any."""
    place, stop, endpoint = Place(), threading.Event(), f"ipc://{tmp_path}/control.sock"
    commands = {"signal.set": place.book.set, "signal.list": place.book.listing}
    server = ControlServer([endpoint], (), lambda _: False, immediate=commands)
    thread = threading.Thread(target=server.run, args=(stop, lambda: None))
    thread.start()

    def run(*args: str, lines: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return main(["signal", args[0], "--connect", endpoint, *args[1:]])

    run.book = place.book
    yield run
    stop.set()
    server.wake()
    thread.join(5)


def test_signals_are_set_and_shown(signal, capsys):
    assert signal("set", "speed_mps=-3.5e0", "gear=reverse", "brake=true", "driver='7'") == 0
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["SIGNAL", "VALUE", "AGE_MS", "STALE"]
    assert rows == [
        ["speed_mps", "-3.5", "0", "no"],
        ["gear", "reverse", "0", "no"],
        ["brake", "true", "0", "no"],
        ["driver", "7", "0", "no"],
    ]
    assert signal("set", "speed_mps=1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["signals"][0]["value"] == 1.0
    assert signal("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(KINDS) + len(OWN)
    assert lines[0].split() == ["SIGNAL", "VALUE", "AGE_MS", "STALE", "KIND", "UNIT", "MEANING"]


def test_what_the_daemon_refuses_ends_set_with_exit_code_2(signal, capsys):
    assert signal("set", "gear=revers") == 2
    assert capsys.readouterr().err == "edged: gear must be one of park, reverse, neutral, drive, got 'revers'\n"


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        (["speed_mps"], "expected NAME=VALUE, got 'speed_mps'"),
        (["=3"], "expected NAME=VALUE, got '=3'"),
        (["speed_mps="], "expected NAME=VALUE, got 'speed_mps='"),
        (["a=1", "a=2"], "a is given twice"),
    ],
)
def test_a_pair_that_is_none_is_refused(pairs, text):
    with pytest.raises(UsageError) as caught:
        parsed(pairs)
    assert str(caught.value) == text


def test_a_stream_goes_on_after_a_line_that_is_refused_and_says_the_same_once(signal, capsys):
    lines = "speed_mps=1\n\nspeed=2\nspeed=3\n'\nspeed_mps=4 driver='Jo Do'\n"
    assert signal("stream", lines=lines) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sorted(line[:49] for line in told.err.splitlines()) == [
        "edged: an earlier line was refused: no signal 'sp",
        'edged: line 5: no closing quotation in "\'"',
    ]
    assert signal.book.readings.values == {"speed_mps": 4.0, "driver": "Jo Do"}
    assert signal("stream", "--json", lines="speed_mps=5\nbrake=false\n") == 0
    assert [json.loads(line)["signals"][0]["value"] for line in capsys.readouterr().out.splitlines()] == [5.0, False]

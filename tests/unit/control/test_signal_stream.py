"""`edged signal stream` against a real control socket: what it sends, prints and returns."""

from __future__ import annotations

import argparse
import io
import json
import threading

import pytest

from edged.cli import signal
from edged.control.server import ControlServer
from edged.errors import UsageError
from edged.scheduler.signals import SignalBook


@pytest.fixture
def book():
    return SignalBook()


@pytest.fixture
def endpoint(tmp_path, book):
    """The control socket of a daemon that knows nothing but signals."""
    endpoint, stop = f"ipc://{tmp_path}/control.sock", threading.Event()
    server = ControlServer([endpoint], [], lambda request: False, immediate={"signal.set": book.set})
    thread = threading.Thread(target=server.run, args=(stop, lambda: None))
    thread.start()
    yield endpoint
    stop.set()
    server.wake()
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture
def stream(endpoint, monkeypatch, capsys):
    """Send lines; return the exit code, stdout and stderr."""

    def stream(*lines, options=()):
        parser = argparse.ArgumentParser()
        signal.add(parser.add_subparsers())
        args = parser.parse_args(["signal", "stream", "--connect", endpoint, *options])
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code = args.run(args)
        return code, *capsys.readouterr()

    return stream


def test_every_line_is_taken_and_nothing_is_printed(stream, book):
    lines = [f"speed_mps={number} gear=drive" for number in range(300)]
    assert stream(*lines, "", "brake=true") == (0, "", "")
    assert book.readings.values == {"speed_mps": 299.0, "gear": "drive", "brake": True}


def test_a_refused_line_is_told_without_a_number_and_the_others_are_taken(stream, book):
    code, out, told = stream("speed_mps=fast", *["gear=drive"] * 100, "brake=true")
    text = "speed_mps must be a number from -1e12 to 1e12, got 'fast'"
    assert (code, out, told) == (2, "", f"edged: an earlier line was refused: {text}\n")
    assert book.readings.values == {"gear": "drive", "brake": True}


def test_a_refusal_of_the_last_line_is_not_lost(stream):
    for _ in range(20):
        code, _, told = stream("gear=sideways")
        assert (code, told.count("gear must be one of"), told.count("\n")) == (2, 1, 1)


def test_several_refusals_at_once_are_all_told(stream):
    code, _, told = stream("speed_mps=fast", "brake=3", "gear=5")
    rows = told.splitlines()
    assert code == 2
    assert [row.split()[6] for row in rows] == ["speed_mps", "brake", "gear"]
    assert all(row.startswith("edged: an earlier line was refused: ") for row in rows)


def test_a_line_that_is_none_is_told_with_its_number_and_not_sent(stream, book):
    code, _, told = stream("speed_mps=1", "", "speed_mps", "gear='", "brake=true")
    assert code == 2
    assert told.splitlines() == [
        "edged: line 3: expected NAME=VALUE, got 'speed_mps'",
        'edged: line 4: no closing quotation in "gear=\'"',
    ]
    assert book.readings.values == {"speed_mps": 1.0, "brake": True}


def test_lines_that_are_all_wrong_in_the_same_way_are_told_once(stream):
    code, _, told = stream(*["speed_mps=fast"] * 200)
    assert (code, told.count("\n")) == (2, 1)


def test_with_json_each_line_has_its_answer_and_a_refusal_its_number(stream):
    code, out, told = stream("speed_mps=1", "gear=5", "brake=true", options=["--json"])
    assert code == 2
    assert [json.loads(line)["signals"][0]["signal"] for line in out.splitlines()] == ["speed_mps", "brake"]
    assert told.startswith("edged: line 2: gear must be ")


def test_the_mark_of_a_streams_end_is_never_a_signal(book):
    with pytest.raises(UsageError, match=signal.END):
        book.set({"signals": {signal.END: True}})

"""What the journal gets: entries with fields by its own protocol, and no more of a flapping camera than it must."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys

import pytest

from edged.journal import Journal, entry, is_the_journal
from edged.log import BURST, WINDOW_S, RateLimit, about, start_logging


def decoded(datagram: bytes) -> dict[str, str]:
    """Read the journal's protocol, as its documentation has it."""
    fields, rest = {}, datagram
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journald(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(5)
        yield listener


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_values_with_and_without_line_breaks():
    fields = {"MESSAGE": "two\nlines ü", "PRIORITY": "3", "EMPTY": "", "EQUALS": "a=b"}
    assert decoded(entry(fields)) == fields


def test_a_log_call_becomes_an_entry_with_fields(journald, root_logger, monkeypatch, capsys):
    monkeypatch.setattr("edged.log.is_the_journal", lambda stream: stream is sys.stderr)
    monkeypatch.setattr("edged.log.Journal", lambda: Journal(journald.getsockname()))
    start_logging("info")
    text = "camera %s: %s"
    logging.getLogger("edged.x").warning(text, "front", "lost", extra=about(camera="front", event="camera_state"))
    got = decoded(journald.recv(65536))
    assert got["MESSAGE"] == "camera front: lost"
    assert (got["PRIORITY"], got["SYSLOG_IDENTIFIER"], got["LOGGER"]) == ("4", "edged", "edged.x")
    assert (got["EDGED_CAMERA"], got["EDGED_EVENT"], "EDGED_TASK" in got) == ("front", "camera_state", False)
    assert got["CODE_FILE"].endswith("test_log.py")
    assert got["CODE_FUNC"] == "test_a_log_call_becomes_an_entry_with_fields"
    try:
        int("why")
    except ValueError:
        logging.getLogger().exception("it failed")
    got = decoded(journald.recv(65536))
    assert got["MESSAGE"].startswith("it failed\nTraceback ")
    assert got["MESSAGE"].endswith("ValueError: invalid literal for int() with base 10: 'why'")
    assert capsys.readouterr() == ("", "")


def test_without_a_journal_to_take_it_a_line_goes_to_stderr(root_logger, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("edged.log.is_the_journal", lambda _: True)
    monkeypatch.setattr("edged.log.Journal", lambda: Journal(str(tmp_path / "gone")))
    start_logging("info")
    logging.getLogger().error("two\nlines")
    assert capsys.readouterr().err == "<3>two\n<3>lines\n"


def test_a_journal_that_hangs_holds_nobody_up_and_is_told_what_it_missed(journald):
    journal, sent = Journal(journald.getsockname()), 0
    try:
        while not journal._lost:
            assert journal.send({"MESSAGE": str(sent)})
            sent += 1
            assert sent < 100_000
        journal.send({"MESSAGE": "lost too"})
        received = [decoded(journald.recv(65536)) for _ in range(sent - 1)]
        assert received[-1] == {"MESSAGE": str(sent - 2)}
        journal.send({"MESSAGE": "after"})
        assert decoded(journald.recv(65536))["MESSAGE"] == "the journal did not take 2 entries of edged"
        assert decoded(journald.recv(65536)) == {"MESSAGE": "after"}
    finally:
        journal.close()


def test_a_message_of_any_size_is_taken(journald):
    journal = Journal(journald.getsockname())
    try:
        assert journal.send({"MESSAGE": "x" * 1_000_000})
        assert len(decoded(journald.recv(300_000))["MESSAGE"]) == 64_000
    finally:
        journal.close()


def test_stderr_is_the_journal_where_device_and_inode_match(monkeypatch, tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        about_it = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{about_it.st_dev}:{about_it.st_ino}")
        assert is_the_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{about_it.st_dev}:{about_it.st_ino + 1}")
        assert not is_the_journal(stream)
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not is_the_journal(stream)


def record(text="camera %s: %s", **fields):
    made = logging.LogRecord("edged", logging.INFO, __file__, 1, text, ("front", "100% lost"), None)
    made.__dict__.update(about(**fields))
    return made


def test_a_flapping_camera_is_held_back_and_counted():
    now_s = [0.0]
    limit = RateLimit(clock=lambda: now_s[0])
    passed = 0
    for _ in range(100):
        passed += limit.filter(record(camera="front"))
        assert limit.filter(record()), "what is about no camera and no task always passes"
    assert passed == BURST
    assert limit.filter(record(camera="rear")), "another camera is not held back"
    assert limit.filter(record("camera %s has %s", camera="front")), "nor another message"
    now_s[0] = WINDOW_S
    first = record(camera="front")
    assert limit.filter(first)
    assert first.getMessage() == "camera front: 100% lost (90 lines like this one were held back)"
    second = record(camera="front")
    assert limit.filter(second)
    assert second.getMessage() == "camera front: 100% lost"

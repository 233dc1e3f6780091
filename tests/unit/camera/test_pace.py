"""Waiting: the clock of a recording, what a socket holds, the bell."""

from __future__ import annotations

import threading
import time

import pytest

from edged.camera import pace
from edged.camera.pace import Bell, MediaClock, SocketRest


@pytest.fixture
def now_s(monkeypatch):
    value = [50.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: value[0])
    return value


def test_media_time_starts_with_the_first_packet_and_runs_with_the_clock(now_s):
    clock = MediaClock()
    assert clock.left_s(7.0) == 0
    assert clock.left_s(7.5) == pytest.approx(0.5)
    now_s[0] += 0.6
    assert clock.left_s(7.5) == pytest.approx(-0.1)
    assert clock.at_ns(7.5) == 50_500_000_000


def test_a_recording_far_behind_goes_on_from_where_it_is(now_s):
    clock = MediaClock()
    clock.left_s(0.0)
    now_s[0] += 5
    assert clock.left_s(0.04) == 0
    assert clock.at_ns(0.04) == 55_000_000_000
    assert clock.left_s(0.08) == pytest.approx(0.04)


def test_a_stream_is_left_alone_for_as_long_as_any_socket_holds_it(now_s):
    rest = SocketRest()
    assert rest.rest_s() == pace.REST_MIN_S, "its rate of bytes is not known yet"
    now_s[0] += 2
    rest.read(800_000)
    assert rest.rest_s() == pytest.approx(pace.SOCKET_BYTES / 400_000)
    rest.read(20_000_000)
    assert rest.rest_s() == pace.REST_MIN_S
    slow = SocketRest()
    now_s[0] += 2
    slow.read(1000)
    assert slow.rest_s() == pace.REST_MAX_S


def test_the_bell_ends_a_wait_and_is_heard_by_one_that_begins_later():
    with Bell() as bell:
        begin_s = time.monotonic()
        ringer = threading.Timer(0.02, bell.ring)
        ringer.start()
        bell.wait(10)
        ringer.join()
        bell.ring()
        bell.wait(10)
        assert time.monotonic() - begin_s < 5
        begin_s = time.monotonic()
        bell.wait(0.05)
        assert time.monotonic() - begin_s >= 0.049, "it rang once"


def test_a_bell_may_be_rung_before_and_after_anybody_listens():
    bell = Bell()
    bell.ring()
    for _ in range(2):
        with bell:
            bell.wait(0.001, exact=True)
        bell.ring()

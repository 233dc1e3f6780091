"""A network camera's stamps: of a clock that is ours, of one that is anybody's, and of one that jumps."""

from __future__ import annotations

import time

import pytest

from edged.camera.sender import WINDOW_NS, SenderClock

MS, S = 1_000_000, 1_000_000_000


@pytest.fixture
def clocks(monkeypatch):
    """Wall clock and CLOCK_MONOTONIC in nanoseconds, to be moved by hand."""
    now = {"wall": 1_700_000_000_000_000_000, "mono": 5_000_000_000}
    monkeypatch.setattr(time, "time_ns", lambda: now["wall"])
    monkeypatch.setattr(time, "monotonic_ns", lambda: now["mono"])
    return now


@pytest.mark.parametrize("step_s", [3600, -3600, 2, -2])
def test_a_step_of_our_wall_clock_leaves_the_age_of_a_senders_stamp_as_it_is(clocks, step_s):
    sender, sent_ns = SenderClock(synced=True), clocks["wall"] - 30 * MS
    assert sender.capture(sent_ns).mono_ns == clocks["mono"] - 30 * MS
    clocks["wall"] += step_s * S
    capture = sender.capture(sent_ns)
    assert (capture.clock, capture.mono_ns) == ("rtcp", clocks["mono"] - 30 * MS)
    assert capture.unix_ns == clocks["wall"] - 30 * MS


def test_a_wall_clock_that_was_wrong_when_the_stream_was_opened_is_read_anew(clocks):
    clocks["wall"] -= 10**18
    sender = SenderClock(synced=True)
    clocks["wall"] += 10**18
    assert sender.capture(clocks["wall"] - 1000).mono_ns == clocks["mono"] - 1000


@pytest.mark.parametrize("age_s", [-1, -3600, 6, 3600])
def test_a_senders_clock_that_is_not_ours_is_not_believed(clocks, age_s):
    assert SenderClock(synced=True).capture(clocks["wall"] - age_s * S) is None


def ages_ms(clocks, packets, sender=None):
    """Return the age that each of some packets has when it comes in: (when it was sent, how long it took), in ms."""
    sender, wall_ns, mono_ns = sender or SenderClock(synced=False), clocks["wall"], clocks["mono"]
    found = []
    for sent_ms, took_ms in packets:
        clocks["mono"] = mono_ns + (sent_ms + took_ms) * MS
        capture = sender.capture(wall_ns + sent_ms * MS)
        found.append(capture and (clocks["mono"] - capture.mono_ns) / MS)
    return found


@pytest.mark.parametrize("off_s", [0, 2, -2, 4, 86_400, -(10**9)])
def test_a_clock_that_nobody_keeps_gives_the_distance_of_pictures_and_not_their_age(clocks, off_s):
    """The second packet is the fastest; what the network delays after it is told from what it always takes."""
    clocks["wall"] += off_s * S
    packets = [(0, 25), (40, 20), (80, 20), (120, 65), (160, 25), (200, 20)]
    assert ages_ms(clocks, packets) == [0, 0, 0, 45, 5, 0]


def test_pictures_never_go_back_in_time_when_a_faster_packet_comes(clocks):
    sender, times = SenderClock(synced=False), []
    mono_ns, wall_ns = clocks["mono"], clocks["wall"]
    for number, took_ms in enumerate((90, 80, 45, 200, 160, 120, 30, 31)):
        clocks["mono"] = mono_ns + (40 * number + took_ms) * MS
        times.append(sender.capture(wall_ns + 40 * number * MS).mono_ns)
    assert times == sorted(times)


def test_a_camera_that_sets_its_clock_back_is_old_for_two_windows_at_most(clocks):
    """Two seconds back, as NTP does at a camera's start: each packet seems to take two seconds more."""
    sender = SenderClock(synced=False)
    assert ages_ms(clocks, [(at, 20) for at in range(0, 1000, 40)], sender) == [0.0] * 25
    ages = ages_ms(clocks, [(at, 2020) for at in range(0, 2 * WINDOW_NS // MS + 1000, 40)], sender)
    assert ages[0] > 1900, "a network that holds its packets back looks the same"
    assert ages[-20:] == [0.0] * 20
    assert sum(age > 0 for age in ages) * 40 * MS <= 2 * WINDOW_NS


def test_a_jump_of_hours_is_not_believed_while_it_lasts(clocks):
    sender = SenderClock(synced=False)
    ages_ms(clocks, [(0, 20)], sender)
    ages = ages_ms(clocks, [(at, 3_600_000) for at in range(0, 2 * WINDOW_NS // MS, 40)], sender)
    assert ages[0] is None
    assert ages[-1] == 0


def test_clocks_that_drift_apart_are_followed(clocks):
    """A camera's clock that loses 100 ms in a quarter of an hour."""
    ages = ages_ms(clocks, [(at * 999, at) for at in range(900)])
    assert max(ages) < 20

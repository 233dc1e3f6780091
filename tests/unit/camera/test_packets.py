"""What FFmpeg's streams say of time."""

from __future__ import annotations

import pytest

from edged.camera import packets
from edged.camera.base import Opening
from edged.camera.packets import PacketReader


@pytest.fixture
def source(clip):
    source = PacketReader(Opening("c", "file", str(clip()), str))
    yield source
    source.close()


@pytest.fixture
def clocks(monkeypatch):
    """Wall clock and CLOCK_MONOTONIC in nanoseconds, to be moved by hand."""
    now = {"wall": 1_700_000_000_000_000_000, "mono": 5_000_000_000}
    monkeypatch.setattr(packets.time, "time_ns", lambda: now["wall"])
    monkeypatch.setattr(packets.time, "monotonic_ns", lambda: now["mono"])
    return now


@pytest.mark.parametrize("step_s", [3600, -3600, 2, -2])
def test_a_step_of_our_wall_clock_leaves_the_age_of_a_senders_stamp_as_it_is(clocks, step_s, clip):
    opened = PacketReader(Opening("c", "file", str(clip()), str))
    sent_ns = clocks["wall"] - 30_000_000
    assert opened._sent(sent_ns).mono_ns == clocks["mono"] - 30_000_000
    clocks["wall"] += step_s * 1_000_000_000
    capture = opened._sent(sent_ns)
    assert (capture.clock, capture.mono_ns) == ("rtcp", clocks["mono"] - 30_000_000)
    assert capture.unix_ns == clocks["wall"] - 30_000_000
    opened.close()


def test_a_wall_clock_that_was_wrong_when_the_stream_was_opened_is_read_anew(clocks, clip):
    clocks["wall"] -= 10**18
    opened = PacketReader(Opening("c", "file", str(clip()), str))
    clocks["wall"] += 10**18
    assert opened._sent(clocks["wall"] - 1000).mono_ns == clocks["mono"] - 1000
    opened.close()


@pytest.mark.parametrize("age_s", [-1, -3600, 6, 3600])
def test_a_senders_clock_that_is_not_ours_is_not_believed(clocks, source, age_s):
    assert source._sent(clocks["wall"] - age_s * 1_000_000_000) is None


@pytest.mark.parametrize("read", [0, 1])
def test_a_stream_that_is_closed_leaves_no_demuxer_half_way(clip, read):
    """A demuxer that is only forgotten keeps its memory: 0.2 KB for each reconnection, and the heap around it."""
    opened = PacketReader(Opening("c", "file", str(clip()), str))
    for _ in range(read):
        opened.grab()
    opened.close()
    assert next(opened._packets, None) is None
    opened.close()

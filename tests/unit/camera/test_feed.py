"""What becomes of packets: decoded, skipped, kept, caught up with. The source writes down what is done to each."""

from __future__ import annotations

import time

import pytest

from edged.camera import feed as feed_module
from edged.camera.base import CameraStalled, Decoded, Grab
from edged.camera.counter import FrameCounter
from edged.camera.feed import Feed
from edged.frame import Capture, Color, Picture, PixelFormat

PICTURE = Picture(8, 6, PixelFormat.GRAY, Color(), ())


class Noted:
    """Decodes a packet into its picture at once, and notes it."""

    def __init__(self, raw=False):
        self.raw, self.calls = raw, []

    def decode(self, grab):
        self.calls.append(("decode", grab.pts))
        return [Decoded(PICTURE, grab.pts)]

    def skip(self, grab):
        self.calls.append(("skip", grab.pts))

    def rest(self, warm=False):
        self.calls.append("rest")

    def drain(self):
        self.calls.append("drain")
        return ()


def packet(pts, key=False, disposable=False, size=1000):
    return Grab(None, pts, key, disposable=disposable, size_bytes=size)


@pytest.fixture
def made():
    source, counter = Noted(), FrameCounter()
    return Feed(source, counter, keep_max_s=1.0, keep_max_bytes=10_000), source, counter


def decode(feed, counter, grab, late_s=0.0, rate_hz=0.0):
    """Return the numbers of the frames that a packet led to."""
    pictures = feed.decode(grab, Capture(grab.pts, grab.pts, "arrival"), late_s, rate_hz)
    return [place[0] for one in pictures if (place := counter.frame(one.pts)) is not None]


def catch_up(feed, counter):
    while (pictures := feed.catch_up()) is not None:
        assert [counter.frame(one.pts) for one in pictures] == [None] * len(pictures)


def test_warm_keeps_from_the_last_key_frame_on_and_leaves_disposable_packets_out(made):
    feed, source, counter = made
    for pts in range(8):
        feed.rest(packet(pts, key=pts % 5 == 0, disposable=pts == 6), pts * 0.04, keep=True)
    assert feed.kept == (2, pytest.approx(0.08))
    assert source.calls == [("skip", pts) for pts in (0, 1, 2, 3, 4, 6)]
    feed.wake()
    catch_up(feed, counter)
    assert source.calls[6:] == [("decode", 5), ("decode", 7)]
    assert decode(feed, counter, packet(8)) == [8]
    assert (counter.counts.caught_up, counter.counts.undecoded, counter.counts.read) == (2, 8, 9)


def test_before_the_first_key_frame_nothing_is_kept(made):
    feed, source, _ = made
    feed.rest(packet(3), 0.0, keep=True)
    assert (feed.kept[0], source.calls) == (0, [("skip", 3)])


@pytest.mark.parametrize(("size", "step_s"), [(3000, 0.01), (10, 0.3)])
def test_beyond_either_cap_what_is_kept_goes_until_the_next_key_frame(made, size, step_s):
    feed, source, counter = made
    feed.rest(packet(0, key=True, size=size), 0.0, keep=True)
    for pts in range(1, 5):
        assert not feed.full
        feed.rest(packet(pts, size=size), pts * step_s, keep=True)
        if feed.full:
            break
    assert (feed.full, feed.kept[0]) == (True, 0)
    assert source.calls == [("skip", number) for number in range(pts + 1)]
    feed.rest(packet(8, size=size), 8 * step_s, keep=True)
    assert feed.kept[0] == 0
    feed.rest(packet(9, key=True, size=size), 9 * step_s, keep=True)
    assert (feed.full, feed.kept[0]) == (False, 1)


def test_what_a_hot_camera_decoded_last_is_where_a_warm_one_goes_on(made):
    feed, source, counter = made
    feed.wake()
    assert decode(feed, counter, packet(0, key=True)) == [0]
    feed.rest(packet(1), 0.0, keep=True)
    feed.wake()
    catch_up(feed, counter)
    assert decode(feed, counter, packet(2)) == [2]
    assert source.calls == [("decode", 0), ("decode", 1), ("decode", 2)]


def test_a_rest_in_the_middle_of_catching_up_goes_on_from_there(made):
    feed, source, counter = made
    for pts in range(4):
        feed.rest(packet(pts, key=pts == 0), pts * 0.01, keep=True)
    feed.wake()
    feed.catch_up()
    feed.rest(packet(4), 0.04, keep=True)
    feed.wake()
    catch_up(feed, counter)
    assert source.calls == [("decode", pts) for pts in range(5)]
    assert counter.counts.caught_up <= 5


def test_parked_forgets_what_was_kept_and_starts_at_a_key_frame(made):
    feed, source, counter = made
    feed.wake()
    decode(feed, counter, packet(0, key=True))
    feed.rest(packet(1), 0.0, keep=True)
    feed.rest(packet(2), 0.1, keep=False)
    assert source.calls == [("decode", 0), ("skip", 1), "rest", ("skip", 2)]
    feed.wake()
    assert feed.catch_up() is None
    assert decode(feed, counter, packet(3)) == []
    assert decode(feed, counter, packet(4, key=True)) == [4]


def test_raw_buffers_go_back_at_once():
    source = Noted(raw=True)
    feed = Feed(source, FrameCounter(), 1.0, 10_000)
    for pts in range(3):
        feed.rest(packet(pts, key=True), pts * 0.04, keep=True)
    assert source.calls == [("skip", 0), ("skip", 1), ("skip", 2)]


def test_of_overdue_packets_only_the_newest_is_handed_over(made):
    """The stream has a packet each 40 ms: one that is later than that has a successor already."""
    feed, source, counter = made
    for pts in range(10):
        feed.gate.saw(pts * 0.04)
        feed.rest(packet(pts, key=pts == 0), pts * 0.04, keep=True)
    feed.wake()
    catch_up(feed, counter)
    assert decode(feed, counter, packet(10), late_s=0.11) == []
    assert decode(feed, counter, packet(11, disposable=True), late_s=0.08) == []
    assert decode(feed, counter, packet(12), late_s=0.02) == [12]
    assert decode(feed, counter, packet(13), late_s=0.5) == [13], "later delays are no part of coming back"
    assert source.calls[-4:] == [("decode", 10), ("skip", 11), ("decode", 12), ("decode", 13)]
    assert counter.counts.caught_up == 11


def test_a_rest_in_which_no_packet_was_read_is_one_too(made):
    feed, source, counter = made
    feed.wake()
    for pts in range(3):
        feed.gate.saw(pts * 0.04)
        decode(feed, counter, packet(pts, key=pts == 0))
    feed.pause()
    feed.wake()
    assert decode(feed, counter, packet(3), late_s=0.3) == []
    assert decode(feed, counter, packet(4), late_s=0.01) == [4]
    assert source.calls == [("decode", pts) for pts in range(5)]


def test_a_live_stream_that_gathered_packets_meanwhile_gives_the_newest(made, monkeypatch):
    """Nobody says how old a packet is that lay in the socket: it is counted from the last one read before."""
    feed, _, counter = made
    now_s = [100.0]
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: now_s[0])
    for pts in range(12):
        feed.gate.saw(now_s[0])
        feed.rest(packet(pts, key=pts == 0, size=10), now_s[0], keep=True)
        now_s[0] += 0.04
    now_s[0] += 0.10
    feed.wake()
    catch_up(feed, counter)
    given = [decode(feed, counter, packet(pts), late_s=None) for pts in range(12, 16)]
    assert given == [[], [], [14], [15]]


def test_a_stream_without_key_frames_is_decoded_from_anywhere_in_the_end(made, monkeypatch):
    feed, _, counter = made
    feed.rest(packet(0), 0.0, keep=False)
    feed.wake()
    assert decode(feed, counter, packet(1)) == []
    later_s = time.monotonic() + feed_module.KEY_FRAME_WAIT_S + 1
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: later_s)
    assert decode(feed, counter, packet(2)) == [2]


def test_a_stream_that_ends_while_nobody_needs_it_is_not_drained(made):
    feed, source, counter = made
    feed.rest(packet(0, key=True), 0.0, keep=True)
    assert list(feed.drain()) == []
    assert (feed.kept[0], source.calls) == (0, [("skip", 0)])
    feed.wake()
    decode(feed, counter, packet(1, key=True))
    feed.drain()
    assert source.calls[1:] == [("decode", 1), "drain"]


class Dead(Noted):
    """Its decoder takes everything and gives nothing."""

    def decode(self, grab):
        super().decode(grab)
        return []


@pytest.fixture
def blind(monkeypatch):
    """Return how many packets a dead decoder gets, of those that come at a rate, before it is found out."""
    now = {"s": 100.0}
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: now["s"])

    def blind(count, rate_hz, key=0, due=False):
        feed = Feed(Dead(), FrameCounter(), 1.0, 10_000, blind_max_s=3.0)
        feed.wake()
        for number in range(count):
            now["s"] += 1 / rate_hz
            grab = Grab(None, number, number == key, number / rate_hz if due else None)
            try:
                feed.decode(grab, Capture(number, number, "arrival"), 0.0, 0.0)
            except CameraStalled:
                return number
        return None

    return blind


@pytest.mark.parametrize(("rate_hz", "found"), [(64, 193), (16, 49), (1, 32)])
def test_a_decoder_is_dead_after_the_time_and_the_packets_that_no_decoder_holds_back(blind, rate_hz, found):
    assert blind(1000, rate_hz) == found


def test_a_decoder_that_has_seen_no_key_frame_owes_nothing(blind):
    assert blind(500, 50, key=400) is None


def test_a_recorded_stream_goes_on_to_its_end(blind):
    assert blind(1000, 100, due=True) is None


def test_a_rest_is_no_silence_of_the_decoder(monkeypatch):
    now = {"s": 100.0}
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: now["s"])
    feed = Feed(Dead(), FrameCounter(), 60.0, 10_000, blind_max_s=3.0)
    feed.wake()
    for number in range(40):
        feed.decode(packet(number, key=number == 0), Capture(number, number, "arrival"), 0.0, 0.0)
    feed.rest(packet(40), 40.0, keep=True)
    now["s"] += 60.0
    feed.wake()
    assert list(feed.catch_up()) == []
    assert list(feed.decode(packet(41), Capture(41, 41, "arrival"), 0.0, 0.0)) == []

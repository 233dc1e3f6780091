"""Frame numbers: the rank in presentation order, whatever the decoder reorders, holds back or loses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.camera.counter import REORDER_MAX, FrameCounter, FrameCounts
from edged.frame import Capture


def capture(at):
    return Capture(at, at, "arrival")


@st.composite
def streams(draw):
    """Packets in decode order with their pts: presentation order, with each group of pictures shuffled a little."""
    pts, order = 0, []
    for size in draw(st.lists(st.integers(1, 6), min_size=1, max_size=12)):
        group = [pts + 3 * n for n in range(size)]
        pts = group[-1] + draw(st.integers(1, 9))
        order += draw(st.permutations(group))
    return order


def decode(counter, order, lost=frozenset()):
    """Feed packets as a decoder would: it holds each picture back until no earlier one can come."""
    given, held, last = [], [], sorted(order)
    for at, pts in enumerate(order):
        counter.packet(pts, capture(at))
        held.append(pts)
        while last and last[0] in held:
            ready = last.pop(0)
            held.remove(ready)
            if ready not in lost:
                given.append((ready, *counter.frame(ready)))
    counter.end()
    return given


@given(streams())
def test_the_id_is_the_rank_in_presentation_order(order):
    counter = FrameCounter()
    given = decode(counter, order)
    assert [frame_id for _, frame_id, _ in given] == list(range(len(order)))
    assert [pts for pts, _, _ in given] == sorted(order)
    assert counter.counts == FrameCounts(len(order), len(order), 0, 0)


@given(streams(), st.data())
def test_a_frame_that_never_comes_out_uses_its_number_up(order, data):
    lost = frozenset(data.draw(st.lists(st.sampled_from(order), max_size=4)))
    counter = FrameCounter()
    given = decode(counter, order, lost)
    rank = {pts: number for number, pts in enumerate(sorted(order))}
    assert [(pts, frame_id) for pts, frame_id, _ in given] == [(pts, rank[pts]) for pts in sorted(set(order) - lost)]
    assert counter.counts == FrameCounts(len(order), len(order) - len(lost), 0, len(lost))


@given(streams(), st.data())
def test_capture_times_never_run_back(order, data):
    lost = frozenset(data.draw(st.lists(st.sampled_from(order), max_size=4)))
    times = [stamp.mono_ns for _, _, stamp in decode(FrameCounter(), order, lost)]
    assert times == sorted(set(times))


@given(st.lists(st.integers(0, 2), max_size=40))
def test_skipped_frames_use_numbers_up_and_all_are_accounted_for(steps):
    """0: a packet is skipped, after the decoder was rested; 1: decoded at once; 2: goes in and stays in."""
    counter, ids, inside = FrameCounter(), [], 0
    for pts, step in enumerate(steps, 1):
        if step == 0:
            counter.rest()
            counter.skip()
            inside = 0
        else:
            counter.packet(pts, capture(pts))
            inside += 1
            if step == 1:
                ids.append(counter.frame(pts)[0])
                inside = 0
        counts = counter.counts
        assert counts.read == pts
        assert counts.read == counts.decoded + counts.undecoded + counts.damaged + inside
    assert ids == sorted(set(ids))
    assert ids == [index for index, step in enumerate(steps) if step == 1]


def test_packets_without_pts_are_in_presentation_order():
    counter = FrameCounter()
    for at in range(3):
        counter.packet(None, capture(at))
    assert [counter.frame(None)[0] for _ in range(3)] == [0, 1, 2]


def test_a_stream_whose_first_packets_have_no_pts_yet():
    """As RTSP streams begin, before the first report of the sender."""
    counter, ids = FrameCounter(), []
    for at, pts in enumerate([None, 6000, 12000]):
        counter.packet(pts, capture(at))
        number, stamp = counter.frame(pts)
        ids.append((number, stamp.mono_ns))
    assert ids == [(0, 0), (1, 1), (2, 2)]


def test_a_picture_that_no_packet_stands_for_has_no_number():
    assert FrameCounter().frame(5) is None


def test_what_a_decoder_swallows_for_ever_is_counted_as_damaged():
    counter = FrameCounter()
    for at in range(REORDER_MAX + 10):
        counter.packet(at, capture(at))
    assert counter.counts == FrameCounts(REORDER_MAX + 10, 0, 0, 10)
    assert counter.frame(REORDER_MAX + 9)[0] == REORDER_MAX + 9

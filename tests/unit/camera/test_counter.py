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


class Decoder:
    """Gives pictures in presentation order: it holds as many back as the largest group of `streams` has."""

    def __init__(self, counter):
        self.counter, self.held, self.given = counter, [], []

    def put(self, pts):
        self.held.append(pts)
        while len(self.held) > 6:
            self.give()

    def give(self):
        pts = min(self.held)
        self.held.remove(pts)
        place = self.counter.frame(pts)
        if place is not None:
            self.given.append((pts, place[0]))


@given(streams(), st.data())
def test_numbers_rise_with_presentation_through_skips_rests_and_catch_ups(order, data):
    """Each packet is decoded, skipped among decoded ones, kept to be caught up with, or thrown away at rest."""
    counter = FrameCounter()
    decoder, kept = Decoder(counter), []
    awake = True
    for at, pts in enumerate(order):
        step = data.draw(st.sampled_from(["decode", "decode", "decode", "skip", "keep", "park"]), label="step")
        if step in ("keep", "park"):
            if awake:
                counter.pause()
                awake = False
            counter.skip()
            kept.append(pts)
            if step == "park":
                counter.rest()
                kept.clear()
                decoder.held.clear()
        else:
            awake = True
            for late in kept:
                counter.catch_up(late)
                decoder.put(late)
            kept.clear()
            if step == "decode":
                counter.packet(pts, capture(at))
                decoder.put(pts)
            else:
                counter.skip(pts, capture(at))
        counts = counter.counts
        assert counts.read == at + 1
        assert counts.damaged == 0
        assert 0 <= at + 1 - counts.decoded - counts.undecoded <= len(decoder.held)
    while decoder.held:
        decoder.give()
    counter.end()
    counts = counter.counts
    assert counts.read == counts.decoded + counts.undecoded == len(order)
    assert len(decoder.given) == counts.decoded
    assert decoder.given == sorted(decoder.given)
    numbers = [number for _, number in decoder.given]
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < len(order) for number in numbers)


@given(streams(), st.data())
def test_a_frame_skipped_among_decoded_ones_leaves_its_neighbours_their_numbers(order, data):
    skipped = frozenset(data.draw(st.lists(st.sampled_from(order[1:] or order), max_size=6)))
    counter = FrameCounter()
    decoder = Decoder(counter)
    for at, pts in enumerate(order):
        if pts in skipped and at:
            counter.skip(pts, capture(at))
        else:
            counter.packet(pts, capture(at))
            decoder.put(pts)
    while decoder.held:
        decoder.give()
    rank = {pts: number for number, pts in enumerate(sorted(order))}
    assert decoder.given == [(pts, rank[pts]) for pts in sorted(rank) if pts not in skipped or pts == order[0]]
    counts = counter.counts
    assert (counts.read, counts.decoded, counts.damaged) == (len(order), len(decoder.given), 0)


@given(streams())
def test_what_was_caught_up_with_is_counted_and_has_no_place(order):
    counter = FrameCounter()
    for _ in order:
        counter.skip()
    decoder = Decoder(counter)
    for pts in order:
        counter.catch_up(pts)
        decoder.put(pts)
    while decoder.held:
        decoder.give()
    assert decoder.given == []
    assert counter.counts == FrameCounts(len(order), 0, len(order), 0, len(order))


def test_a_kept_packet_that_was_damaged_does_not_stop_the_pictures_after_it():
    counter = FrameCounter()
    for pts in (10, 20, None):
        counter.skip()
        counter.catch_up(pts)
    assert counter.frame(20) is None
    assert counter.frame(None) is None
    counter.packet(30, capture(30))
    assert counter.frame(30) == (3, capture(30))
    counter.packet(40, capture(40))
    assert counter.frame(40) == (4, capture(40))
    assert counter.counts == FrameCounts(5, 2, 3, 0, 2)


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


def test_frames_that_went_missing_before_a_packet_use_their_numbers_up_and_are_not_read():
    counter = FrameCounter()
    for pts, lost in ((0, 0), (3, 2), (4, 0)):
        counter.lose(lost)
        counter.packet(pts, capture(pts))
        assert counter.frame(pts) == (pts, capture(pts))
    counter.lose(1)
    counter.skip()
    assert counter.counts == FrameCounts(read=4, decoded=3, undecoded=1, lost=3)
    counter.packet(7, capture(7))
    assert counter.frame(7)[0] == 7

"""The rate gate: what may be skipped, so that no gate behind it is ever short of a frame."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edged.camera.gate import ENOUGH, SLACK, RateGate

GROUPS = {  # decode order of one group, by place; the second value says that no other picture refers to it
    "no B-frames": [(0, False)],
    "intra only": [(0, True)],
    "layers": [(0, False), (1, True)],
    "IBBP": [(2, False), (0, True), (1, True)],
    "IBBP, B-frames turned round": [(2, False), (1, True), (0, True)],
    "pyramid": [(3, False), (1, False), (0, True), (2, True)],
}


def passed(group, stream_hz, rate_hz, frames=240, unit=3600, start=10**9):
    """Return the places, in presentation order, of the frames that are decoded."""
    gate, found = RateGate(), []
    order = GROUPS[group]
    packets = [(at + place, skippable) for at in range(0, frames, len(order)) for place, skippable in order]
    for number, (place, disposable) in enumerate(packets):
        gate.saw(number / stream_hz)
        if gate.wants(start + place * unit, disposable, rate_hz):
            found.append(place)
    return sorted(found)


rates = st.floats(1, 60), st.floats(0.5, 80)


@given(st.sampled_from(sorted(GROUPS)), *rates)
def test_no_two_decoded_frames_are_further_apart_than_is_wanted(group, stream_hz, rate_hz):
    places = passed(group, stream_hz, rate_hz)
    furthest = max(1, (1 + SLACK) * stream_hz / rate_hz + 1e-6)
    assert all(after - before <= furthest for before, after in pairwise(places))
    assert 240 - places[-1] <= furthest + 4


@given(*rates)
def test_of_frames_that_nothing_refers_to_no_more_are_decoded_than_needed(stream_hz, rate_hz):
    steps = {after - before for before, after in pairwise(passed("intra only", stream_hz, rate_hz)[ENOUGH:])}
    assert steps <= {max(1, int(stream_hz / rate_hz)), max(1, int(stream_hz / rate_hz * (1 + SLACK)))}


@given(st.sampled_from(sorted(GROUPS)), st.floats(1, 60))
def test_no_rate_and_the_streams_own_rate_decode_everything(group, stream_hz):
    for rate_hz in (0.0, stream_hz, 2 * stream_hz):
        assert len(passed(group, stream_hz, rate_hz)) >= 240


@given(st.sampled_from(["no B-frames", "IBBP", "pyramid"]), *rates)
def test_what_others_refer_to_is_always_decoded(group, stream_hz, rate_hz):
    places = set(passed(group, stream_hz, rate_hz))
    order = GROUPS[group]
    needed = {at + place for at in range(0, 240, len(order)) for place, skippable in order if not skippable}
    assert needed <= places


def test_a_rate_that_divides_the_streams_is_met_exactly_in_spite_of_jitter():
    gate, found = RateGate(), []
    for number in range(300):
        gate.saw(number / 25 + (0.004 if number % 3 else -0.004))
        if gate.wants(number * 3600 + (90 if number % 2 else -90), True, 5.0):
            found.append(number)
    assert {after - before for before, after in pairwise(found[ENOUGH + 2 :])} == {5}


def test_packets_without_pts_are_counted():
    gate, found = RateGate(), []
    for number in range(100):
        gate.saw(number / 30)
        if gate.wants(None if number > 3 else number * 3000, True, 10.0):
            found.append(number)
    assert {after - before for before, after in pairwise(found[ENOUGH + 5 :])} == {3}


def test_it_starts_anew_where_pts_jump_back():
    gate = RateGate()
    for number in range(50):
        gate.saw(number / 25)
        gate.wants(number * 100, True, 5.0)
    gate.restart()
    assert gate.wants(0, True, 5.0)
    assert gate.interval_s is not None

"""Processor sharing: how long pieces of work take side by side."""

from __future__ import annotations

from functools import partial
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.simulation.device import SharedDevice


def finished(parallel, works):
    """Return when each piece of work is over, from (when it begins, its seconds); and the device."""
    device, now_s, ends, over = SharedDevice(parallel), 0.0, {}, []
    due = sorted(enumerate(works), key=lambda one: one[1][0])
    while due or device.next_done_s() is not None:
        left_s = device.next_done_s()
        next_s = min(now_s + left_s if left_s is not None else inf, due[0][1][0] if due else inf)
        for done in device.advance(next_s - now_s):
            done()
        now_s = next_s
        ends |= dict.fromkeys(over, now_s)
        over.clear()
        while due and due[0][1][0] <= now_s:
            number, (_, seconds) = due.pop(0)
            device.start(seconds, partial(over.append, number))
    return [ends[number] for number in range(len(works))], device


def test_work_that_fits_side_by_side_runs_at_full_speed():
    assert finished(2, [(0, 1.0), (0, 3.0)])[0] == pytest.approx([1.0, 3.0])


def test_more_work_than_that_shares_alike():
    assert finished(1, [(0, 1.0), (0, 2.0)])[0] == pytest.approx([2.0, 3.0])


def test_work_that_comes_later_slows_what_runs():
    assert finished(1, [(0, 1.0), (0.5, 1.0)])[0] == pytest.approx([1.5, 2.0])


def test_equal_pieces_are_over_in_the_order_in_which_they_began():
    device, over = SharedDevice(1), []
    for name in "abc":
        device.start(1.0, lambda name=name: over.append(name))
    for done in device.advance(device.next_done_s()):
        done()
    assert over == ["a", "b", "c"]


def test_a_device_that_is_slowed_down_goes_on_with_what_is_left():
    device = SharedDevice(1)
    device.start(1.0, lambda: None)
    assert list(device.advance(0.5)) == []
    device.parallel = 0.25
    assert device.next_done_s() == pytest.approx(2.0)


WORKS = st.lists(st.tuples(st.floats(0, 2), st.floats(0.001, 1)), min_size=1, max_size=8)


@given(WORKS, st.sampled_from([0.5, 1, 2, 3.5]))
def test_all_work_is_done_once_and_never_faster_than_the_device(works, parallel):
    ends, device = finished(parallel, works)
    assert device.busy_s == pytest.approx(sum(seconds for _, seconds in works))
    for (begin_s, seconds), end_s in zip(works, ends, strict=True):
        assert end_s >= begin_s + seconds * max(1, 1 / parallel) - 1e-6
    assert max(ends) * parallel >= device.busy_s - 1e-6

"""Counters that threads wait on: both kinds keep the same promises."""

from __future__ import annotations

import threading
import time

import pytest

from edged.waiting import BriefLock, Inbox, _EventTokens, _QueueTokens


@pytest.fixture(params=[_QueueTokens, _EventTokens])
def tokens(request):
    return request.param()


def test_every_token_lets_one_through_and_no_more(tokens):
    for _ in range(3):
        tokens.put()
    assert [tokens.get(0) for _ in range(4)] == [True, True, True, False]


def test_a_wait_ends_with_its_time_and_not_before(tokens):
    begin_s = time.monotonic()
    assert not tokens.get(0.05)
    assert time.monotonic() - begin_s >= 0.049


def test_threads_that_wait_get_as_many_as_there_are(tokens):
    got = []
    threads = [threading.Thread(target=lambda: got.append(tokens.get(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        tokens.put()
    for thread in threads:
        thread.join()
    assert got == [True] * 4
    assert sum(iter(lambda: tokens.get(0), False)) == 196


def test_an_inbox_gives_what_came_in_order_and_none_when_nothing_comes():
    inbox: Inbox[int] = Inbox()
    for number in range(3):
        inbox.put(number)
    assert len(inbox) == 3
    assert [inbox.get(0), inbox.get(1), inbox.get(0), inbox.get(0.01)] == [0, 1, 2, None]


def test_a_brief_lock_lets_one_in_at_a_time():
    lock, inside, most, count = BriefLock(), [], [0], [0]

    def work():
        for _ in range(300):
            with lock:
                inside.append(1)
                most[0] = max(most[0], len(inside))
                before = count[0]
                if before % 50 == 0:
                    time.sleep(0.0005)  # the interpreter's lock goes to the others meanwhile
                count[0] = before + 1
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, count) == ([1], [2400])


def test_a_brief_lock_can_be_tried_and_waited_on_as_a_condition():
    lock = BriefLock()
    with lock:
        assert not lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
    lock.release()
    room, seen = threading.Condition(lock), []

    def wait():
        with lock:
            while not seen:
                room.wait()
            seen.append("woken")

    thread = threading.Thread(target=wait)
    thread.start()
    with lock:
        seen.append("told")
        room.notify_all()
    thread.join(10)
    assert seen == ["told", "woken"]

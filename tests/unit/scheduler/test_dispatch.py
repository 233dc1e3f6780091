"""The dispatcher: the newest frame wins, every loss has a cause, every lease comes back."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import asdict

import pytest
from dispatch_parts import Leases, assert_accounted, losses, route
from hypothesis import given
from hypothesis import strategies as st
from parts import until

from edged.scheduler.dispatch import LOSSLESS_PLACES, Dispatcher, EngineLimits


@pytest.fixture
def leases():
    return Leases()


def one_engine(max_batch=1, workers=1):
    return Dispatcher({"e": EngineLimits(max_batch, workers)})


def serve(dispatcher, batch):
    for job in batch.jobs:
        job.frame.release()
        dispatcher.done(job)
    dispatcher.finished(batch)


def test_a_newer_frame_takes_the_place_of_one_that_waits(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route(),)})
    for number in range(3):
        dispatcher.offer(leases.frame("c", number, at_ms=number * 100))
    batch = dispatcher.take(0)
    assert [job.frame.id for job in batch.jobs] == [2]
    serve(dispatcher, batch)
    assert losses(dispatcher) == {"offered": 3, "superseded": 2, "served": 1}
    leases.assert_all_back_once()


def test_a_frame_that_no_task_claims_goes_back_at_once(leases):
    dispatcher = one_engine()
    dispatcher.offer(leases.frame("c"))
    assert dispatcher.take(0) is None
    assert dispatcher.counts() == {}
    leases.assert_all_back_once()


def test_tasks_of_one_engine_share_a_job_and_of_two_engines_do_not(leases):
    dispatcher = Dispatcher({"e": EngineLimits(1, 1), "f": EngineLimits(1, 1)})
    dispatcher.set_routes({"c": (route("a"), route("b"), route("z", "f"))})
    dispatcher.offer(leases.frame("c", 7))
    batches = [dispatcher.take(0), dispatcher.take(0)]
    assert {(batch.engine, batch.jobs[0].tasks) for batch in batches} == {("e", ("a", "b")), ("f", ("z",))}
    serve(dispatcher, batches[0])
    assert not leases.back
    serve(dispatcher, batches[1])
    leases.assert_all_back_once()


def test_priority_first_then_the_earlier_deadline_then_who_waits_longer(leases):
    dispatcher = one_engine(max_batch=8)
    dispatcher.set_routes(
        {
            "old": (route("t1"),),
            "new": (route("t2"),),
            "due": (route("t3", deadline_ms=60_000),),
            "high": (route("t4", priority=5),),
        }
    )
    for camera in ("old", "new", "due", "high"):
        dispatcher.offer(leases.frame(camera))
    batch = dispatcher.take(0)
    assert [job.frame.camera for job in batch.jobs] == ["high", "due", "old", "new"]
    serve(dispatcher, batch)


def test_a_batch_leaves_other_workers_their_share_and_keeps_its_limit(leases):
    for workers, limit, sizes in ((2, 8, [3, 2, 1]), (1, 4, [4, 2]), (4, 8, [2, 1, 1, 1, 1])):
        dispatcher = one_engine(limit, workers)
        dispatcher.set_routes({f"c{n}": (route(),) for n in range(6)})
        for n in range(6):
            dispatcher.offer(leases.frame(f"c{n}"))
        taken = []
        while (batch := dispatcher.take(0)) is not None:
            taken.append(len(batch.jobs))
            serve(dispatcher, batch)
        assert taken == sizes
    leases.assert_all_back_once()


def test_a_frame_past_its_deadline_is_dropped_and_counted(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route(deadline_ms=50),)})
    dispatcher.offer(leases.frame("c", at_ms=time.monotonic() * 1e3 - 60))
    assert dispatcher.take(0) is None
    assert losses(dispatcher) == {"offered": 1, "late": 1}
    leases.assert_all_back_once()


def test_the_longest_deadline_of_a_shared_job_counts(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route("a", deadline_ms=50), route("b", deadline_ms=60_000))})
    dispatcher.offer(leases.frame("c", at_ms=time.monotonic() * 1e3 - 60))
    batch = dispatcher.take(0)
    assert batch.jobs[0].tasks == ("a", "b")
    serve(dispatcher, batch)


def test_a_task_that_loses_its_frame_to_one_between_its_turns_gets_that_one(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route("fast", rate_hz=100), route("slow", rate_hz=1, priority=9))})
    dispatcher.offer(leases.frame("c", 0, at_ms=1000))
    dispatcher.offer(leases.frame("c", 1, at_ms=1010))  # not the slow one's turn
    batch = dispatcher.take(0)
    (job,) = batch.jobs
    assert (job.frame.id, job.tasks, job.priority) == (1, ("fast", "slow"), 9)
    serve(dispatcher, batch)
    assert losses(dispatcher, "slow") == {"offered": 2, "superseded": 1, "served": 1}
    leases.assert_all_back_once()


def test_a_job_of_tasks_that_left_is_dropped_and_of_one_that_left_goes_on(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route("a"), route("b")), "d": (route("a"),)})
    dispatcher.offer(leases.frame("c", 0))
    dispatcher.offer(leases.frame("d", 1))
    dispatcher.set_routes({"c": (route("b"),)})
    batch = dispatcher.take(0)
    assert [(job.frame.id, job.tasks) for job in batch.jobs] == [(0, ("b",))]
    assert dispatcher.take(0) is None
    serve(dispatcher, batch)
    assert losses(dispatcher, "a", "c") == losses(dispatcher, "a", "d") == {"offered": 1, "stopped": 1}
    leases.assert_all_back_once()


def test_a_failed_parser_is_counted_for_its_task_alone(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route("a"), route("b"))})
    dispatcher.offer(leases.frame("c"))
    (job,) = dispatcher.take(0).jobs
    job.frame.release()
    dispatcher.done(job, failed=("a",))
    assert losses(dispatcher, "a") == {"offered": 1, "failed": 1}
    assert losses(dispatcher, "b") == {"offered": 1, "served": 1}


@pytest.mark.parametrize("camera_hz", [5, 9.9, 15, 24, 25, 29.97, 30, 50, 60, 120])
@pytest.mark.parametrize("task_hz", [1, 2, 5, 7, 10, 12, 15, 20, 24, 25, 30, 60])
def test_the_gate_keeps_the_wanted_average_rate(leases, camera_hz, task_hz):
    """Over 20 s with jitter of a fifth of the interval, at most 2 % off what camera and task allow."""
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route(rate_hz=task_hz),)})
    rng = random.Random(task_hz * 1000 + camera_hz)
    frames = int(20 * camera_hz)
    for number in range(frames):
        dispatcher.offer(leases.frame("c", number, at_ms=1e6 + (number + rng.uniform(-0.1, 0.1)) * 1000 / camera_hz))
    passed = frames - dispatcher.counts()["t", "c"].rate
    wanted = min(task_hz, camera_hz) * 20
    assert abs(passed - wanted) <= max(1, 0.02 * wanted)
    dispatcher.close()


def test_the_gate_recovers_when_the_clock_steps_back(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route(rate_hz=10),)})
    for at_ms in (1_000_000, 1_000_100, 500_000, 500_100):
        dispatcher.offer(leases.frame("c", at_ms=at_ms))
    assert dispatcher.counts()["t", "c"].rate == 0
    dispatcher.close()


def test_a_paced_reader_waits_until_its_frame_is_taken_and_loses_none(leases):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route(rate_hz=1000, deadline_ms=1, priority=7),)})
    seen = []

    def read():
        for number in range(50):
            dispatcher.offer(leases.frame("c", number, at_ms=0, media_ms=number * 40), wait=True)

    reader = threading.Thread(target=read)
    reader.start()
    while len(seen) < 50:
        batch = dispatcher.take(5)
        assert batch is not None
        (job,) = batch.jobs
        assert (job.lossless, job.deadline_ns, job.priority) == (True, None, -1)
        seen.append(job.frame.id)
        serve(dispatcher, batch)
    reader.join(5)
    assert seen == list(range(50))
    assert losses(dispatcher) == {"offered": 50, "served": 50}
    leases.assert_all_back_once()


@pytest.mark.parametrize("end", ["close", "leave"])
def test_a_reader_that_waits_is_let_go_when_its_task_leaves_or_all_ends(leases, end):
    dispatcher = one_engine()
    dispatcher.set_routes({"c": (route(),)})
    for number in range(LOSSLESS_PLACES):
        dispatcher.offer(leases.frame("c", number, media_ms=number), wait=True)
    reader = threading.Thread(target=dispatcher.offer, args=(leases.frame("c", 99, media_ms=99), True))
    reader.start()
    until(lambda: dispatcher._intake.rooms, 5, "a reader that waits")
    if end == "close":
        dispatcher.close()
    else:
        dispatcher.set_routes({})
    reader.join(5)
    assert not reader.is_alive()
    assert dispatcher.take(0) is None
    leases.assert_all_back_once()
    if end == "leave":
        assert losses(dispatcher) == {"offered": LOSSLESS_PLACES + 1, "stopped": LOSSLESS_PLACES + 1}


def test_take_returns_none_after_its_time_and_at_once_when_nudged():
    dispatcher = one_engine()
    begin_s = time.monotonic()
    assert dispatcher.take(0.05) is None
    assert 0.04 < time.monotonic() - begin_s < 0.5
    taker = threading.Thread(target=dispatcher.take, args=(30,))
    taker.start()
    dispatcher.nudge()
    taker.join(5)
    assert not taker.is_alive()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from("cd"), st.integers(0, 120)),
        st.tuples(st.just("take"), st.booleans(), st.integers(0, 3)),
        st.tuples(st.just("routes"), st.integers(0, 15), st.just(0)),
        st.tuples(st.just("done"), st.booleans(), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 3), st.integers(1, 3))
def test_every_frame_is_accounted_for_whatever_happens(steps, max_batch, workers):
    """offered = served + all causes, for each task and camera; and each frame's memory comes back exactly once."""
    leases = Leases()
    dispatcher = Dispatcher({"e": EngineLimits(max_batch, workers), "f": EngineLimits(1, 1)})
    claims = (route("a", rate_hz=20), route("b", rate_hz=7, deadline_ms=40), route("z", "f", 50), route("y", "f", 9))
    taken, now_ms = [], time.monotonic() * 1e3

    def routes(which):
        chosen = tuple(claim for bit, claim in enumerate(claims) if which >> bit & 1)
        dispatcher.set_routes({"c": chosen, "d": chosen[:2]})

    routes(15)
    for what, one, other in steps:
        if what == "offer":
            now_ms += other
            dispatcher.offer(leases.frame(one, at_ms=now_ms - 1000 if other == 13 else now_ms))
        elif what == "take" and (batch := dispatcher.take(0)) is not None:
            taken.extend(batch.jobs)
        elif what == "routes":
            routes(one)
        elif what == "done" and taken:
            job = taken.pop()
            job.frame.release()
            dispatcher.done(job, job.tasks[:1] if one else ())
    routes(0)
    for job in taken:
        job.frame.release()
        dispatcher.done(job)
    for place, counts in dispatcher.counts().items():
        spent = asdict(counts)
        assert spent.pop("offered") == sum(spent.values()), place
        assert all(count >= 0 for count in spent.values()), place
    dispatcher.close()
    leases.assert_all_back_once()


def test_threads_that_offer_take_and_replan_at_once_lose_nothing(leases):
    """The same invariant with real threads, live and lossless cameras mixed."""
    dispatcher = Dispatcher({"e": EngineLimits(3, 2)})
    everything = {camera: (route("a", rate_hz=1e6), route("b", rate_hz=1e6)) for camera in "cdef"}
    dispatcher.set_routes(everything)
    stop = threading.Event()

    def read(camera):
        for number in range(300):
            dispatcher.offer(leases.frame(camera, number, media_ms=number), wait=camera == "f")

    def work():
        while not stop.is_set():
            if (batch := dispatcher.take(0.01)) is not None:
                serve(dispatcher, batch)

    def replan():
        while not stop.is_set():
            dispatcher.set_routes({camera: claims[:1] for camera, claims in everything.items()})
            dispatcher.set_routes(everything)

    cameras = [threading.Thread(target=read, args=(camera,)) for camera in "cdef"]
    others = [threading.Thread(target=target) for target in (work, work, replan)]
    for thread in (*cameras, *others):
        thread.start()
    for thread in cameras:
        thread.join(60)
    stop.set()
    for thread in others:
        thread.join(5)
    while (batch := dispatcher.take(0)) is not None:
        serve(dispatcher, batch)
    for (task, camera), counts in dispatcher.counts().items():
        spent = asdict(counts)
        assert spent.pop("offered") == sum(spent.values()), (task, camera)
        if (task, camera) == ("a", "f"):
            assert counts.offered == 300
            assert counts.superseded == counts.late == counts.rate == 0
    leases.assert_all_back_once()


def test_a_camera_does_not_wait_for_a_busy_dispatcher_and_its_frame_is_seen_all_the_same():
    """Whoever holds the lock looks at the frame when it gives the lock back."""
    dispatcher, leases = Dispatcher({"e": EngineLimits(1, 1, "cpu")}), Leases()
    dispatcher.set_routes({"c": (route(),)})
    with dispatcher._held:
        begin_s = time.monotonic()
        dispatcher.offer(leases.frame("c", 7))
        assert time.monotonic() - begin_s < 1
        assert not dispatcher._devices["cpu"].waiting
    batch = dispatcher.take(0)
    assert [job.frame.id for job in batch.jobs] == [7]
    batch.jobs[0].frame.release()
    dispatcher.done(batch.jobs[0])
    dispatcher.finished(batch)
    leases.assert_all_back_once()
    assert_accounted(dispatcher)

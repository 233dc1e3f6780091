"""Every frame is accounted for and every lease comes back once, whatever happens, in simulated time."""

from __future__ import annotations

import threading
import time

import pytest
from dispatch_parts import MS, Leases, assert_accounted, losses, route
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.scheduler.dispatch import Dispatcher, EngineLimits
from edged.scheduler.groups import Sync
from edged.work import Cost

SYNC = Sync(15, 40, ("c", "d"))
CLAIMS = (
    route("a", rate_hz=20, priority=5, deadline_ms=60),
    route("b", rate_hz=7, deadline_ms=40),
    route("z", "f", 50),
    route("y", "f", 9, priority=2, deadline_ms=25),
    route("s", "e", 12, priority=1, deadline_ms=200, sync=SYNC),
    route("r", "g", 30, sync=SYNC),
)
COSTS = st.builds(Cost, st.sampled_from([0.0, 0.004, 0.02]), st.sampled_from([0.001, 0.01, 0.05]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from("cd"), st.integers(0, 90)),
        st.tuples(st.just("offer"), st.sampled_from("cd"), st.integers(0, 20)),
        st.tuples(st.just("take"), st.sampled_from(["cpu", "gpu0"]), st.just(0)),
        st.tuples(st.just("pass"), st.integers(0, 100), st.just(0)),
        st.tuples(st.just("routes"), st.integers(0, 63), st.integers(0, 63)),
        st.tuples(st.just("rate"), st.integers(0, 5), st.sampled_from([0.5, 3.0, 40.0])),
        st.tuples(st.just("costs"), COSTS, COSTS),
        st.tuples(st.just("finish"), st.integers(0, 3), st.integers(0, 2)),
        st.tuples(st.just("jump"), st.integers(-3000, 3000), st.just(0)),
    ),
    max_size=80,
)


class Story:
    """One random sequence of events. A model keeps what the dispatcher must not lose."""

    def __init__(self, max_batch, workers):
        self.leases = Leases()
        self.now_ms = 1_000_000.0
        self.shift_ms = 0.0
        limits = {
            "e": EngineLimits(max_batch, workers),
            "f": EngineLimits(1, workers),
            "g": EngineLimits(2, 1, "gpu0"),
        }
        self.dispatcher = Dispatcher(limits, clock=lambda: int(self.now_ms * MS))
        self.claims = list(CLAIMS)
        self.masks = (63, 63)
        self.taken = []
        self.served = 0
        self.follow()

    def follow(self):
        def chosen(mask):
            return tuple(claim for bit, claim in enumerate(self.claims) if mask >> bit & 1)

        self.dispatcher.set_routes({"c": chosen(self.masks[0]), "d": chosen(self.masks[1])})

    def offer(self, camera, after_ms):
        self.now_ms += after_ms
        late_ms = 70 if after_ms == 13 else 0
        self.dispatcher.offer(self.leases.frame(camera, at_ms=self.now_ms + self.shift_ms - late_ms))

    def take(self, device, _):
        if (batch := self.dispatcher.take(0, device)) is not None:
            assert all(job.engine == batch.engine for job in batch.jobs)
            assert len({job.frame.camera + str(job.group) for job in batch.jobs}) == len(batch.jobs)
            self.taken.append(batch)

    def finish(self, place, failing):
        if not self.taken:
            return
        batch = self.taken.pop(place % len(self.taken))
        for job in batch.jobs:
            job.frame.release()
            failed = job.tasks[:failing]
            good = self.dispatcher.done(job, failed)
            assert set(good) <= set(job.tasks) - set(failed)
            self.served += len(good)
        self.dispatcher.finished(batch, 0.01 if failing else None)

    def routes(self, one, other):
        self.masks = (one, other)
        self.follow()

    def rate(self, place, rate_hz):
        old = self.claims[place]
        self.claims[place] = route(old.task, old.engine, rate_hz, old.priority, old.deadline_ms, old.sync)
        self.follow()

    def costs(self, one, other):
        self.dispatcher.set_costs({"e": one, "f": other, "g": one, "unknown": other})

    def step(self, what, one, other):
        if what == "pass":
            self.now_ms += one
        elif what == "jump":
            self.shift_ms += one
        else:
            getattr(self, what)(one, other)


@settings(deadline=None, max_examples=300)
@given(STEPS, st.integers(1, 3), st.integers(1, 3), st.sampled_from(["routes", "close"]))
def test_every_frame_is_accounted_for_and_comes_back_once(steps, max_batch, workers, end):
    """offered = served + all causes, for each task and camera, at every moment but for what is on its way."""
    story = Story(max_batch, workers)
    for step in steps:
        story.step(*step)
        for claim, counts in story.dispatcher.counts().items():
            spent = {**vars(counts)}
            offered = spent.pop("offered")
            assert all(count >= 0 for count in spent.values()), claim
            assert sum(spent.values()) <= offered, claim
        again_ns = story.dispatcher.look_again_ns()
        assert again_ns is None or again_ns > 0
    if end == "close":
        story.dispatcher.close()
    else:
        story.dispatcher.set_routes({})
    while story.taken:
        story.finish(0, 0)
    assert story.dispatcher.take(0) is None
    assert_accounted(story.dispatcher)
    assert sum(counts.served for counts in story.dispatcher.counts().values()) == story.served
    assert sum(one.served for one in story.dispatcher.devices().values()) == story.served
    assert story.dispatcher.look_again_ns() is None
    story.leases.assert_all_back_once()


@settings(deadline=None)
@given(STEPS, st.integers(1, 3), st.integers(1, 2))
def test_what_waits_is_taken_in_the_end_whoever_waits_for_what(steps, max_batch, workers):
    """No job starves: with free workers and time, nothing is left once no more frames come."""
    story = Story(max_batch, workers)
    for step in steps:
        story.step(*step)
    for _ in range(500):
        while story.taken:
            story.finish(0, 0)
        for device in ("cpu", "gpu0"):
            story.take(device, 0)
        again_ns = story.dispatcher.look_again_ns()
        if not story.taken and again_ns is None:
            break
        if again_ns is not None:
            story.now_ms = max(story.now_ms, again_ns / MS + 0.001)
    assert not story.taken
    assert_accounted(story.dispatcher)
    story.leases.assert_all_back_once()


def now_ms():
    return time.monotonic_ns() / MS


def end(dispatcher, batch):
    for job in batch.jobs:
        job.frame.release()
        dispatcher.done(job)
    dispatcher.finished(batch)


def test_a_taker_that_waits_wakes_by_itself_for_a_batch_that_is_held():
    """Two cameras' rhythm is known: a frame of one is held for the other, which never comes."""
    ago_ns, leases, got = [0], Leases(), []
    dispatcher = Dispatcher({"e": EngineLimits(2, 1)}, clock=lambda: time.monotonic_ns() - ago_ns[0])
    dispatcher.set_costs({"e": Cost(0.5, 0.001)})
    dispatcher.set_routes({"c": (route(rate_hz=1),), "d": (route(rate_hz=1),)})
    for before_ms, camera in ((2000, "c"), (1800, "d"), (1000, "c"), (800, "d")):
        ago_ns[0] = before_ms * MS
        dispatcher.offer(leases.frame(camera, 0, at_ms=now_ms() - before_ms))
    ago_ns[0] = 0
    end(dispatcher, dispatcher.take(5))
    dispatcher.offer(leases.frame("c", 9, at_ms=now_ms()))
    assert dispatcher.take(0) is None
    taker = threading.Thread(target=lambda: got.append(dispatcher.take(30)))
    taker.start()
    taker.join(10)
    assert not taker.is_alive()
    assert [job.frame.id for job in got[0].jobs] == [9]
    end(dispatcher, got[0])
    leases.assert_all_back_once()


def test_a_worker_that_takes_a_job_leaves_another_to_watch_over_what_is_held():
    """Two workers wait, played by this thread: one is told of an open group, then given another job."""
    dispatcher, leases = Dispatcher({"e": EngineLimits(1, 2), "f": EngineLimits(1, 2)}), Leases()
    claim = route("s", "e", 100, sync=Sync(10, 60_000, ("c", "d")))
    dispatcher.set_routes({"c": (claim,), "d": (claim,), "x": (route("t", "f"),)})
    dispatcher.offer(leases.frame("d", 0, at_ms=now_ms()))
    end(dispatcher, dispatcher.take(0))
    device = dispatcher._device("cpu")
    device.begin_wait()
    device.begin_wait()
    dispatcher.offer(leases.frame("c", 1, at_ms=now_ms() + 50))  # d gave a frame just now: it is waited for
    assert device.wait(0)
    assert not device.wait(0)
    assert dispatcher.look_again_ns() is not None
    device.begin_wait()
    dispatcher.offer(leases.frame("x", 2, at_ms=now_ms()))
    assert device.wait(0)
    batch = dispatcher.take(0)
    assert batch.engine == "f"
    assert device.wait(0)  # the other one has to look when the group ends
    end(dispatcher, batch)
    dispatcher.close()
    leases.assert_all_back_once()


@pytest.mark.parametrize("cameras", [2, 5])
def test_threads_with_groups_and_devices_lose_nothing(cameras):
    """Real threads: live and lossless cameras, plain and grouping tasks, two devices, and a plan that changes."""
    names = [f"c{n}" for n in range(cameras)]
    sync = Sync(1000, 20, tuple(names))
    limits = {"e": EngineLimits(3, 2), "g": EngineLimits(2, 1, "gpu0")}
    dispatcher, leases, stop = Dispatcher(limits), Leases(), threading.Event()
    dispatcher.set_costs({"e": Cost(0.0005, 0.0005), "g": Cost(0.001, 0.0)})
    claims = (route("a", rate_hz=1e6, priority=1), route("s", "e", 200, sync=sync), route("z", "g", 300, 2))
    everything = dict.fromkeys(names, claims)
    dispatcher.set_routes(everything)

    def read(camera):
        for number in range(200):
            dispatcher.offer(leases.frame(camera, number, media_ms=number), wait=camera == "c0")
            stop.wait(0.0005)

    def work(device):
        while not stop.is_set():
            if (batch := dispatcher.take(0.01, device)) is not None:
                end(dispatcher, batch)

    def replan():
        while not stop.wait(0.002):
            dispatcher.set_routes({camera: claimed[:1] for camera, claimed in everything.items()})
            dispatcher.set_routes(everything)

    readers = [threading.Thread(target=read, args=(camera,)) for camera in names]
    others = [threading.Thread(target=work, args=(device,)) for device in ("cpu", "cpu", "gpu0")]
    others.append(threading.Thread(target=replan))
    for thread in (*readers, *others):
        thread.start()
    for thread in readers:
        thread.join(60)
        assert not thread.is_alive()
    stop.set()
    for thread in others:
        thread.join(5)
    dispatcher.close()
    assert_accounted(dispatcher)
    assert losses(dispatcher, "a", "c0")["offered"] == 200
    assert {"superseded", "late", "rate"}.isdisjoint(losses(dispatcher, "a", "c0"))
    leases.assert_all_back_once()

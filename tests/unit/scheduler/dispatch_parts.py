"""What the dispatcher's tests are made of: frames that count their leases, and a small world in simulated time."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.scheduler.dispatch import Dispatcher, Route

PICTURE = Picture(2, 2, PixelFormat.GRAY, Color(), ())
MS = 1_000_000


class Leases:
    """Makes frames, and counts how often each of them came back."""

    def __init__(self):
        self.made, self.back, self.keys = [], Counter(), itertools.count()

    def frame(self, camera, number=0, *, at_ms=None, media_ms=None):
        mono_ns = time.monotonic_ns() if at_ms is None else int(at_ms * 1e6)
        media_ns = None if media_ms is None else int(media_ms * 1e6)
        key = next(self.keys)
        self.made.append(key)
        capture = Capture(0, mono_ns, "arrival", media_ns)
        return Frame(camera, number, PICTURE, capture, 0, 0, lambda: self.back.update([key]))

    def assert_all_back_once(self):
        assert self.back == Counter(self.made)


def route(task="t", engine="e", rate_hz=1000.0, priority=0, deadline_ms=None, sync=None):
    return Route(task, engine, rate_hz, priority, deadline_ms, sync)


def losses(dispatcher, task="t", camera="c"):
    counts = asdict(dispatcher.counts()[task, camera])
    return {cause: count for cause, count in counts.items() if count}


def assert_accounted(dispatcher):
    for claim, counts in dispatcher.counts().items():
        spent = asdict(counts)
        assert spent.pop("offered") == sum(spent.values()), claim
        assert all(count >= 0 for count in spent.values()), claim


@dataclass
class Served:
    """One batch as it ran. Times in ms."""

    engine: str
    begin: float
    end: float
    jobs: tuple
    good: dict = field(default_factory=dict)  # (task, camera, frame) -> ms from capture to result

    @property
    def cameras(self):
        return [job.frame.camera for job in self.jobs]


class World:
    """The real dispatcher with cameras and workers in simulated time, in one thread."""

    def __init__(self, limits, costs=None, workers=1, start_ms=1_000_000.0):
        self.now_ns = int(start_ms * MS)
        self.start_ns = self.now_ns
        self.leases = Leases()
        self.dispatcher = Dispatcher(limits, clock=lambda: self.now_ns)
        self.costs = costs or {}
        self.dispatcher.set_costs(self.costs)
        self.free = {one.device: workers for one in limits.values()}
        self.device = {engine: one.device for engine, one in limits.items()}
        self.events, self.order = [], itertools.count()
        self.served = []

    @property
    def now_ms(self):
        return (self.now_ns - self.start_ns) / MS

    def at(self, at_ms, act):
        heapq.heappush(self.events, (self.start_ns + int(at_ms * MS), next(self.order), act))

    def frame(self, camera, at_ms, number=0, lag_ms=0.0):
        """Let a camera give one frame that was taken at `at_ms`."""
        taken_ms = self.start_ns / MS + at_ms
        frame = self.leases.frame(camera, number, at_ms=taken_ms)
        self.at(at_ms + lag_ms, lambda: self.dispatcher.offer(frame))

    def camera(self, camera, hz, seconds, phase_ms=0.0, lag_ms=0.0, jitter=lambda: 0.0, begin_s=0.0):
        for number in range(int(begin_s * hz), int(seconds * hz)):
            self.frame(camera, phase_ms + number * 1000 / hz + jitter(), number, lag_ms)

    def run(self, until_ms, looks_max=100_000):
        """Let time pass. Fails when the dispatcher asks to be looked at without end."""
        end_ns = self.start_ns + int(until_ms * MS)
        for _ in range(looks_max):
            self._take()
            times = [self.events[0][0]] if self.events else []
            again_ns = self.dispatcher.look_again_ns()
            if again_ns is not None and any(self.free.values()):
                assert again_ns > self.now_ns
                times.append(again_ns)
            if not times or min(times) > end_ns:
                self.now_ns = end_ns
                return self
            self.now_ns = max(self.now_ns, min(times))
            while self.events and self.events[0][0] <= self.now_ns:
                heapq.heappop(self.events)[2]()
        raise AssertionError("a busy loop")

    def end(self):
        """Let everything end, and see that every frame is accounted for and came back."""
        self.dispatcher.set_routes({})
        self.run(self.now_ms + 600_000)
        assert_accounted(self.dispatcher)
        self.leases.assert_all_back_once()

    def latencies(self, task):
        return [ms for one in self.served for (name, _, _), ms in one.good.items() if name == task]

    def _take(self):
        for device in self.free:
            while self.free[device] and (batch := self.dispatcher.take(0, device)) is not None:
                self._start(device, batch)

    def _start(self, device, batch):
        cost_s = self.costs[batch.engine].of(len(batch.jobs)) if batch.engine in self.costs else 0.001
        one = Served(batch.engine, self.now_ms, self.now_ms + cost_s * 1e3, batch.jobs)
        self.served.append(one)
        self.free[device] -= 1

        def over():
            for job in batch.jobs:
                job.frame.release()
                for task in self.dispatcher.done(job):
                    took_ns = self.now_ns - job.frame.capture.mono_ns
                    one.good[task, job.frame.camera, job.frame.id] = took_ns / MS
            self.dispatcher.finished(batch, cost_s)
            self.free[device] += 1

        self.at(one.end, over)

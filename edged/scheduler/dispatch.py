"""From frames to batches: the newest frame of each camera, highest priority and earliest deadline first.

Nothing queues up. A live camera has one place for each engine; a newer frame takes the place of one that no worker
has taken yet, and every loss is counted for its task and camera, with its cause. A lossless camera waits instead; it
has a few places, so that it decodes some frames in a row rather than sleeping after each. Frames of a task that
groups them wait for each other first, and have places of their own: other tasks' frames do not wait with them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from edged.frame import Frame
from edged.scheduler.claims import DeviceCounts, EngineLimits, Route, TaskCounts
from edged.scheduler.device import Device
from edged.scheduler.intake import LOSSLESS_PLACES, Intake
from edged.scheduler.urgency import WallCost
from edged.waiting import BriefLock
from edged.work import Batch, Cost, Job

__all__ = ["LOSSLESS_PLACES", "DeviceCounts", "Dispatcher", "EngineLimits", "Route", "TaskCounts"]


class Dispatcher:
    """Between the cameras and the engine workers. Every method may be called from any thread.

    Args:
        limits: engine -> its limits, the device it runs on among them.
        clock: CLOCK_MONOTONIC in nanoseconds, or a simulated one. With that, call `take(0)` only, and `offer` without
            `wait`: then nothing blocks, and every decision is for the clock's time.
    """

    def __init__(self, limits: Mapping[str, EngineLimits], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._held = _Held(self._take_in)
        self._arrived: deque[Frame] = deque()  # of live cameras, not yet looked at
        self._costs: dict[str, WallCost] = {}
        self._devices: dict[str, Device] = {}
        self._intake = Intake(self._held.condition, clock, self._costs)
        self._routing = self._intake.routing
        self._running: dict[int, tuple[Device, Batch]] = {}
        self._next_number = 0
        self._engines: frozenset[str] = frozenset()
        self.set_limits(limits)

    def set_limits(self, limits: Mapping[str, EngineLimits]) -> None:
        """Follow a new set of engines. Raise `ValueError` when a route still leads to one that is gone.

        So a reload first adds the new engines, then changes the routes, then takes the old ones away.
        """
        with self._held:
            _known(self._routing.engines(), limits)
            for name in {one.device for one in limits.values()} - self._devices.keys():
                self._devices[name] = Device(self._costs)
            self._intake.devices = {engine: self._devices[one.device] for engine, one in limits.items()}
            for name, device in self._devices.items():
                device.set_limits({engine: one for engine, one in limits.items() if one.device == name})
            for engine in self._costs.keys() - limits.keys():
                del self._costs[engine]
            self._engines = frozenset(limits)
            self._intake.look_ahead()

    def set_costs(self, costs: Mapping[str, Cost]) -> None:
        """Take what each engine's inferences cost. How much longer they take on the clock is measured here."""
        with self._held:
            for engine in costs.keys() & self._engines:
                known = self._costs.setdefault(engine, WallCost(costs[engine]))
                known.cost = costs[engine]
            self._wake_all()

    def set_routes(self, routes: Mapping[str, tuple[Route, ...]]) -> None:
        """Follow a new plan: camera -> the tasks that claim its frames. Waiting jobs of tasks that left are dropped.

        A task whose rate changes keeps its phase. Raises `ValueError` for a route to an engine without limits.
        """
        freed: list[Frame] = []
        with self._held:
            _known((route.engine for claimed in routes.values() for route in claimed), self._engines)
            self._look_at_arrivals(freed)
            for task, frame in self._routing.follow(routes, self._clock()):
                self._routing.counts_of(task, frame.camera).stopped += 1
                freed.append(frame)
            self._intake.look_ahead()
            for device in self._devices.values():
                for job in [job for jobs in device.waiting.values() for job in jobs]:
                    self._intake.withdraw(device, job, freed)
            for room in self._intake.rooms.values():
                room.notify_all()
            self._wake_all()
        _release(freed)

    def offer(self, frame: Frame, wait: bool = False) -> None:
        """Take over one decoded frame and its lease. With `wait`, return only when it has a place.

        Without it the caller waits for nobody: where another thread is at work here, that one looks at the frame.
        """
        if not wait:
            self._arrived.append(frame)
            self._take_in()
            return
        media_ns = frame.capture.media_ns
        freed: list[Frame] = []
        with self._held:
            self._offer(frame, frame.capture.mono_ns if media_ns is None else media_ns, wait, freed)
        _release(freed)

    def take(self, timeout_s: float, device: str = "cpu") -> Batch | None:
        """Return the batch that a free worker of a device should start now, or None: nothing came in time.

        The caller owns the frames' leases. It calls `done` for each job and then `finished`.
        """
        mine = self._device(device)
        end_ns: int | None = None
        timed_out = False
        while True:
            freed: list[Frame] = []
            with self._held:
                if timed_out:
                    mine.end_wait()
                self._look_at_arrivals(freed)
                now_ns = self._clock()
                end_ns = now_ns + int(timeout_s * 1e9) if end_ns is None else end_ns
                batch = self._choose(mine, now_ns, freed)
                ends = batch is not None or now_ns >= end_ns or mine.nudges > 0
                if not ends:
                    again_ns = self._again_ns(mine, now_ns)
                    wait_s = ((end_ns if again_ns is None else min(end_ns, again_ns)) - now_ns) / 1e9
                    mine.begin_wait()
                else:
                    mine.nudges -= batch is None and mine.nudges > 0
                    if mine.waiting or self._intake.grouping:
                        mine.wake()  # another one watches over what is left
            _release(freed)
            if ends:
                return batch
            timed_out = not mine.wait(wait_s)

    def look_again_ns(self) -> int | None:
        """Return when a batch that is held, a job that is postponed or an open group is due, as of the last `take`."""
        with self._held:
            now_ns = self._clock()
            times = [self._again_ns(device, now_ns) for device in self._devices.values()]
        return min((at_ns for at_ns in times if at_ns is not None), default=None)

    def done(self, job: Job, failed: Sequence[str] = ()) -> tuple[str, ...]:
        """Count the end of a job, and return the tasks whose result is in time, for the others are not published.

        Args:
            job: its inference is over, or failed.
            failed: the tasks that have no result.
        """
        good = []
        with self._held:
            now_ns, counts_of = self._clock(), self._routing.counts_of
            device = self._intake.devices.get(job.engine)
            for task, deadline_ns in zip(job.tasks, job.deadlines_ns, strict=True):
                if task in failed:
                    counts_of(task, job.frame.camera).failed += 1
                elif deadline_ns is not None and now_ns > deadline_ns:
                    counts_of(task, job.frame.camera).late += 1
                    self._intake.count_lost(job, 1, deadline_ns)
                else:
                    counts_of(task, job.frame.camera).served += 1
                    good.append(task)
            if device is not None and not job.lossless:
                device.counts.served += len(good)
        return tuple(good)

    def finished(self, batch: Batch, wall_s: float | None = None) -> None:
        """Say that a worker is free again. `wall_s` is what the batch took; None when it failed."""
        with self._held:
            device, _ = self._running.pop(batch.number)
            device.finish(batch.number, self._clock())
            cost = self._costs.get(batch.engine)
            if cost is not None and wall_s is not None:
                cost.measured(len(batch.jobs), wall_s)
            if device.waiting:
                device.wake()

    def in_flight(self, engine: str) -> int:
        """Return how many batches of an engine were taken and are not finished.

        Once no route leads to it and this is 0, nobody will use it again.
        """
        with self._held:
            return sum(batch.engine == engine for _, batch in self._running.values())

    def nudge(self, device: str = "cpu") -> None:
        """End one wait in `take`, the next one if nobody waits."""
        mine = self._device(device)
        with self._held:
            mine.nudges += 1
            mine.wake()

    def counts(self) -> dict[tuple[str, str], TaskCounts]:
        """Return a copy of the counts by (task, camera)."""
        with self._held:
            return {claim: replace(counts) for claim, counts in self._routing.counts.items()}

    def devices(self) -> dict[str, DeviceCounts]:
        """Return a copy of the counts by device."""
        with self._held:
            now_ns = self._clock()
            for device in self._devices.values():
                device.count_busy(now_ns)
            return {
                name: replace(device.counts, lost_by_priority=dict(device.counts.lost_by_priority))
                for name, device in self._devices.items()
            }

    def close(self) -> None:
        """Let every waiting camera go; what waits is dropped, and counted as stopped."""
        with self._held:
            self._intake.closed = True
        self.set_routes({})

    def _take_in(self) -> None:
        """Look at what arrived, unless somebody holds the lock, who will."""
        while self._arrived and self._held.acquire(blocking=False):
            freed: list[Frame] = []
            try:
                self._look_at_arrivals(freed)
            finally:
                self._held.let_go()
                _release(freed)

    def _look_at_arrivals(self, freed: list[Frame]) -> None:
        while self._arrived:
            frame = self._arrived.popleft()
            self._offer(frame, frame.capture.mono_ns, False, freed)

    def _offer(self, frame: Frame, at_ns: int, wait: bool, freed: list[Frame]) -> None:
        freed.append(frame)
        feed = self._routing.feeds.get(frame.camera)
        if feed is not None and not self._intake.closed:
            self._intake.offer(feed, frame, at_ns, self._clock(), wait, freed)

    def _choose(self, device: Device, now_ns: int, freed: list[Frame]) -> Batch | None:
        """Drop what is too late, and start the batch that should go now."""
        self._intake.close_groups(now_ns, freed)
        if not device.waiting:
            device.again_ns = None
            return None
        self._intake.drop_late(device, now_ns, freed)
        jobs = tuple(device.choose(now_ns))
        if not jobs:
            return None
        for job in jobs:
            self._intake.leave(device, job)
        batch = Batch(jobs[0].engine, jobs, self._next_number)
        self._next_number += 1
        self._running[batch.number] = device, batch
        device.start(batch.number, jobs, now_ns)
        return batch

    def _again_ns(self, device: Device, now_ns: int) -> int | None:
        times = (device.again_ns, self._intake.next_close_ns(now_ns))
        return min((at_ns for at_ns in times if at_ns is not None), default=None)

    def _wake_all(self) -> None:
        for device in self._devices.values():
            device.wake()

    def _device(self, name: str) -> Device:
        device = self._devices.get(name)
        if device is None:
            with self._held:
                device = self._devices.setdefault(name, Device(self._costs))
        return device


class _Held(BriefLock):
    """The dispatcher's lock. Whoever gives it back looks at what arrived meanwhile, so that no camera waits for it.

    Sixty cameras and a few workers at one lock would spend more time on passing it on than on what it guards.
    """

    def __init__(self, take_in: Callable[[], None]) -> None:
        super().__init__()
        self._take_in = take_in

    def release(self) -> None:
        """Give it back, and look at what arrived."""
        self.let_go()
        self._take_in()

    def let_go(self) -> None:
        """Give it back and no more."""
        super().release()


def _known(engines: Iterable[str], limits: Container[str]) -> None:
    unknown = sorted({engine for engine in engines if engine not in limits})
    if unknown:
        raise ValueError(f"routes lead to engines without limits: {', '.join(unknown)}")


def _release(frames: Iterable[Frame]) -> None:
    for frame in frames:
        frame.release()

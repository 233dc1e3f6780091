"""From frames to batches: the newest frame of each camera, highest priority and earliest deadline first.

Nothing queues up. A live camera has one place for each engine; a newer frame takes the place of one that no worker
has taken yet, and every loss is counted for its task and camera, with its cause. A lossless camera waits instead; it
has a few places, so that it decodes some frames in a row rather than sleeping after each.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edged.frame import Frame
from edged.work import Batch, Job

Cause = Literal["rate", "superseded", "late", "stopped", "failed"]
LOSSLESS_PLACES = 4  # frames of a lossless camera that may wait; it goes on when half of them are taken
GATE_SLACK = 0.25  # of the wanted interval: a camera's jitter must not halve the rate of a task that wants it all


@dataclass(frozen=True)
class Route:
    """One task's claim on one camera's frames."""

    task: str
    engine: str
    rate_hz: float
    priority: int
    deadline_ms: float | None


@dataclass(frozen=True)
class EngineLimits:
    """What one batch of an engine may hold, and how many workers could share the waiting jobs."""

    max_batch: int
    workers: int


@dataclass
class TaskCounts:
    """Frames of one camera that were decoded while one task claimed it, and where they went.

    `offered` = `served` + all causes + those still on their way.
    """

    offered: int = 0
    served: int = 0
    rate: int = 0
    superseded: int = 0
    late: int = 0
    stopped: int = 0
    failed: int = 0


@dataclass
class _Gate:
    """Lets a task's rate through, locked to the phase of the frames."""

    next_ns: int = 0

    def open(self, at_ns: int, rate_hz: float) -> bool:
        interval_ns = int(1e9 / rate_hz)
        if at_ns < self.next_ns - int(interval_ns * GATE_SLACK) and at_ns > self.next_ns - 2 * interval_ns:
            return False
        on_time = abs(at_ns - self.next_ns) <= interval_ns
        self.next_ns = (self.next_ns if on_time else at_ns) + interval_ns
        return True


class Dispatcher:
    """Between the cameras and the engine workers. Every method may be called from any thread."""

    def __init__(self, limits: Mapping[str, EngineLimits]) -> None:
        self._limits = dict(limits)
        self._lock = threading.Lock()
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()  # at least one for each waiting job
        self._rooms: dict[tuple[str, str], threading.Condition] = {}  # one each: a place concerns one camera
        self._routes: Mapping[str, tuple[Route, ...]] = {}
        self._waiting: dict[tuple[str, str], deque[Job]] = {}  # never empty; one job unless lossless
        self._gates: dict[tuple[str, str], _Gate] = {}
        self._counts: dict[tuple[str, str], TaskCounts] = {}
        self._closed = False

    def set_routes(self, routes: Mapping[str, tuple[Route, ...]]) -> None:
        """Follow a new plan: camera -> the tasks that claim its frames. Waiting jobs of tasks that left are dropped."""
        dropped: list[Frame] = []
        with self._lock:
            self._routes = dict(routes)
            claims = {(route.task, camera) for camera, claimed in routes.items() for route in claimed}
            self._gates = {claim: gate for claim, gate in self._gates.items() if claim in claims}
            for job in [job for jobs in self._waiting.values() for job in jobs]:
                kept = tuple(task for task in job.tasks if (task, job.frame.camera) in claims)
                self._count(job, "stopped", tuple(task for task in job.tasks if task not in kept))
                if not kept:
                    self._leave(job)
                    dropped.append(job.frame)
                elif kept != job.tasks:
                    jobs = self._waiting[job.engine, job.frame.camera]
                    jobs[jobs.index(job)] = replace(job, tasks=kept)
        for frame in dropped:
            frame.release()

    def offer(self, frame: Frame, wait: bool = False) -> None:
        """Take over one decoded frame and its lease. With `wait`, return only when a worker has taken it."""
        at_ns = frame.capture.media_ns if wait and frame.capture.media_ns is not None else frame.capture.mono_ns
        replaced: list[Frame] = []
        with self._lock:
            for engine, routes in self._due(frame.camera, at_ns).items():
                place = (engine, frame.camera)
                while wait and len(self._waiting.get(place, ())) >= LOSSLESS_PLACES:
                    self._rooms.setdefault(place, threading.Condition(self._lock)).wait()
                claims = self._still_claimed(frame.camera, routes)
                if not claims:
                    continue
                places = self._waiting.setdefault(place, deque())
                if places and not wait:
                    older = places.popleft()
                    self._count(older, "superseded", older.tasks)
                    claims += self._carried(older, claims)
                    replaced.append(older.frame)
                frame.retain()
                places.append(_job(frame, engine, claims, wait))
                self._tokens.put(None)
        for old in replaced:
            old.release()
        frame.release()

    def take(self, timeout_s: float) -> Batch | None:
        """Return the most urgent batch, or None: nothing came in time, or others took it.

        The caller owns the frames' leases.
        """
        try:
            self._tokens.get(timeout=timeout_s)
        except queue.Empty:
            return None
        late: list[Frame] = []
        with self._lock:
            now_ns = time.monotonic_ns()
            heads = [jobs[0] for jobs in self._waiting.values()]
            for job in [job for job in heads if job.deadline_ns is not None and now_ns > job.deadline_ns]:
                self._count(job, "late", job.tasks)
                self._leave(job)
                late.append(job.frame)
            batch = self._urgent() if self._waiting else None
        for frame in late:
            frame.release()
        return batch

    def done(self, job: Job, failed: tuple[str, ...] = ()) -> None:
        """Say that a job's inference is over; `failed` names the tasks whose parser gave no result."""
        with self._lock:
            for task in job.tasks:
                counts = self._of(task, job.frame.camera)
                if task in failed:
                    counts.failed += 1
                else:
                    counts.served += 1

    def nudge(self) -> None:
        """End one wait in `take`."""
        self._tokens.put(None)

    def counts(self) -> dict[tuple[str, str], TaskCounts]:
        """Return a copy of the counts by (task, camera)."""
        with self._lock:
            return {claim: replace(counts) for claim, counts in self._counts.items()}

    def close(self) -> None:
        """Let every waiting camera go; what waits is dropped."""
        with self._lock:
            self._closed = True
            dropped = [job for jobs in self._waiting.values() for job in jobs]
            for job in dropped:
                self._leave(job)
        for job in dropped:
            job.frame.release()

    def _due(self, camera: str, at_ns: int) -> dict[str, list[Route]]:
        """Count the frame for every task that claims it, and return the routes whose rate lets it through."""
        due: dict[str, list[Route]] = {}
        if self._closed:
            return due
        for route in self._routes.get(camera, ()):
            counts = self._of(route.task, camera)
            counts.offered += 1
            gate = self._gates.setdefault((route.task, camera), _Gate())
            if gate.open(at_ns, route.rate_hz):
                due.setdefault(route.engine, []).append(route)
            else:
                counts.rate += 1
        return due

    def _still_claimed(self, camera: str, routes: list[Route]) -> list[Route]:
        """Return the claims that outlasted the wait for a place; count the frame as stopped for the others."""
        now = () if self._closed else {route.task for route in self._routes.get(camera, ())}
        for route in routes:
            if route.task not in now:
                self._of(route.task, camera).stopped += 1
        return [route for route in routes if route.task in now]

    def _carried(self, superseded: Job, due: list[Route]) -> list[Route]:
        """Return claims of tasks that lose a frame to a newer one which their rate passes by: they take it instead."""
        camera, served = superseded.frame.camera, {route.task for route in due}
        lost = set(superseded.tasks) - served
        for task in lost:
            self._of(task, camera).rate -= 1
        return [route for route in self._routes.get(camera, ()) if route.task in lost]

    def _urgent(self) -> Batch:
        first = min((jobs[0] for jobs in self._waiting.values()), key=_urgency)
        limits = self._limits[first.engine]
        jobs: tuple[Job, ...] = (first,)
        if limits.max_batch > 1:
            same = [job for jobs in self._waiting.values() for job in jobs if job.engine == first.engine]
            share = -(-len(same) // limits.workers)  # leave the other workers their part
            jobs = tuple(sorted(same, key=_urgency)[: min(share, limits.max_batch)])
        for job in jobs:
            self._leave(job)
        return Batch(first.engine, jobs)

    def _leave(self, job: Job) -> None:
        """Take a job out of its place, and let its camera go on that may wait for it."""
        place = (job.engine, job.frame.camera)
        places = self._waiting[place]
        places.remove(job)
        if len(places) <= LOSSLESS_PLACES // 2 and place in self._rooms:
            self._rooms[place].notify()
        if not places:
            del self._waiting[place]

    def _of(self, task: str, camera: str) -> TaskCounts:
        return self._counts.setdefault((task, camera), TaskCounts())

    def _count(self, job: Job, cause: Cause, tasks: tuple[str, ...]) -> None:
        for task in tasks:
            counts = self._of(task, job.frame.camera)
            setattr(counts, cause, getattr(counts, cause) + 1)


def _job(frame: Frame, engine: str, routes: list[Route], lossless: bool) -> Job:
    """Order an inference. A lossless camera has no deadline and the lowest priority."""
    deadlines = [route.deadline_ms for route in routes if route.deadline_ms is not None]
    deadline_ns = frame.capture.mono_ns + int(max(deadlines) * 1e6) if len(deadlines) == len(routes) else None
    if lossless:
        deadline_ns = None
    priority = -1 if lossless else max(route.priority for route in routes)
    tasks = tuple(route.task for route in routes)
    return Job(frame, engine, tasks, priority, deadline_ns, time.monotonic_ns(), lossless)


def _urgency(job: Job) -> tuple[int, float, int]:
    return -job.priority, float("inf") if job.deadline_ns is None else job.deadline_ns, job.posted_ns

"""Which of the waiting jobs goes first, and whether another one may go before it. Pure functions."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edged.frame import Frame
from edged.scheduler.claims import Claim
from edged.work import Cost, Group, Job

STRETCH_SHARE = 0.1  # of the newest measurement in the mean
STRETCH_MAX = 8.0


@dataclass
class WallCost:
    """What an engine's inferences take on the clock: its cost, times what other work on the machine stretches it by."""

    cost: Cost
    stretch: float = 1.0

    def ns(self, pictures: int) -> int:
        """Return the nanoseconds of one inference of that many pictures."""
        return int(self.cost.of(pictures) * self.stretch * 1e9)

    def fixed_ns(self) -> int:
        """Return what one more picture in a batch saves, compared with an inference of its own."""
        return int(self.cost.fixed_s * self.stretch * 1e9)

    def measured(self, pictures: int, wall_s: float) -> None:
        """Follow one inference's wall time."""
        cost_s = self.cost.of(pictures)
        if cost_s > 0 and wall_s > 0:
            ratio = min(STRETCH_MAX, max(1 / STRETCH_MAX, wall_s / cost_s))
            self.stretch += (ratio - self.stretch) * STRETCH_SHARE


def make_job(
    frame: Frame, engine: str, claims: Sequence[Claim], now_ns: int, lossless: bool, group: Group | None = None
) -> Job:
    """Order an inference. A lossless camera has no deadline and the lowest priority."""
    tasks = tuple(claim.route.task for claim in claims)
    if lossless:
        return Job(frame, engine, tasks, -1, None, now_ns, True, (None,) * len(tasks), None, group)
    deadlines_ns = tuple(deadline_of(frame, claim) for claim in claims)
    known = [one for one in deadlines_ns if one is not None]
    return Job(
        frame,
        engine,
        tasks,
        max(claim.route.priority for claim in claims),
        min(known, default=None),
        now_ns,
        False,
        deadlines_ns,
        max(known) if known and len(known) == len(claims) else None,
        group,
    )


def deadline_of(frame: Frame, claim: Claim) -> int | None:
    """Return the moment after which a task has no use for a frame's result."""
    deadline_ms = claim.route.deadline_ms
    return None if deadline_ms is None else frame.capture.mono_ns + int(deadline_ms * 1e6)


def without(job: Job, tasks: Sequence[str]) -> Job:
    """Return a job without some of its tasks; at least one stays."""
    kept = [(task, at) for task, at in zip(job.tasks, job.deadlines_ns, strict=True) if task not in tasks]
    return replace(job, tasks=tuple(task for task, _ in kept), deadlines_ns=tuple(at for _, at in kept))


def urgency(job: Job) -> tuple[int, float, int]:
    """Sort jobs: highest priority, then earliest deadline, then who waits longest."""
    return -job.priority, float("inf") if job.deadline_ns is None else job.deadline_ns, job.posted_ns


def hopeless(job: Job, cost: WallCost | None, now_ns: int, idle: bool) -> bool:
    """Say whether nobody will want a job's result any more.

    That is known before its deadline where its inference takes longer than what is left, unless it always does: a
    task whose deadline is shorter than its inference is inferred, and measured. `idle` engines are not judged by
    their cost: only an inference can tell that it has fallen.
    """
    if job.expires_ns is None:
        return False
    if now_ns > job.expires_ns or cost is None or idle:
        return now_ns > job.expires_ns
    took_ns = cost.ns(1)
    return now_ns + took_ns > job.expires_ns and job.expires_ns - job.frame.capture.mono_ns > took_ns


def in_time(jobs: Sequence[Job], cost: WallCost | None, now_ns: int) -> Sequence[Job]:
    """Shorten a batch until no picture more makes one of its jobs late that would be in time alone."""
    if cost is None:
        return jobs
    alone_ns = now_ns + cost.ns(1)
    ends = [job.deadline_ns for job in jobs if job.deadline_ns is not None and job.deadline_ns >= alone_ns]
    count = len(jobs)
    while ends and count > 1 and now_ns + cost.ns(count) > min(ends):
        count -= 1
    return jobs[:count]


def hold_ns(jobs: Sequence[Job], arrivals_ns: Sequence[int], room: int, workers: int, cost: WallCost) -> int:
    """Return until when a batch should wait for the frames that are expected at those times.

    One more picture saves what an inference costs beside its pictures: waiting longer for it than that saves nothing.
    And with all of them in, every job must still be in time.

    Args:
        jobs: those of the batch so far.
        arrivals_ns: when frames of other cameras should be offered.
        room: pictures that the batch may still take.
        workers: those that would share the jobs: a batch that is cut in parts again has waited for nothing.
        cost: of the engine.
    """
    end_ns = max(job.posted_ns for job in jobs) + cost.fixed_ns()
    full = len(jobs) + min(room, sum(at_ns <= end_ns for at_ns in arrivals_ns))
    if -(-full // workers) <= len(jobs):
        return 0
    took_ns = cost.ns(full)
    return min(end_ns, min((job.deadline_ns - took_ns for job in jobs if job.deadline_ns is not None), default=end_ns))


@dataclass(frozen=True)
class Expected:
    """An inference that a device will be asked for.

    Args:
        latest_ns: the latest start that keeps its deadline.
        ready_ns: when its frame should be there.
        took_ns: how long it occupies a worker.
        gone_ns: when it is expected no longer if it has not come.
    """

    latest_ns: int
    ready_ns: int
    took_ns: int
    gone_ns: int


def breaks(expected: Sequence[Expected], busy_until: Sequence[int], now_ns: int, took_ns: int) -> bool:
    """Say whether an inference that starts now makes one of the expected miss its latest start.

    Those that find no worker in time anyway are no reason to wait.

    Args:
        expected: inferences of higher priority.
        busy_until: when each of the device's other workers is free again.
        now_ns: the time.
        took_ns: how long the inference takes.
    """
    due = sorted(expected, key=lambda one: one.latest_ns)
    missed = _missed(due, [now_ns + took_ns, *busy_until])
    return bool(missed) and not missed <= _missed(due, [now_ns, *busy_until])


def _missed(due: Sequence[Expected], free_ns: list[int]) -> set[int]:
    """Give each inference the worker that is free first; return the places of those that start too late."""
    heapq.heapify(free_ns)
    missed = set()
    for place, one in enumerate(due):
        start_ns = max(free_ns[0], one.ready_ns)
        if start_ns > one.latest_ns:
            missed.add(place)
        else:
            heapq.heapreplace(free_ns, start_ns + one.took_ns)
    return missed

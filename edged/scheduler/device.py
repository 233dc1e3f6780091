"""The jobs that wait for one device's workers, and the choice of the one that goes now."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from edged.scheduler.claims import Claim, DeviceCounts, EngineLimits, Lane, Place, place_of
from edged.scheduler.urgency import Expected, WallCost, breaks, hold_ns, hopeless, in_time, urgency
from edged.waiting import make_tokens
from edged.work import Job

REPEATS_MAX = 16  # frames of one claim that are looked ahead for
NEVER_NS = 1 << 62
PROBE_NS = 1_000_000_000  # an engine that ran nothing for so long is not judged by its cost


class Device:
    """What waits for one device, and what runs on it. The dispatcher's lock guards it.

    Args:
        costs: engine -> its cost; the dispatcher's own map, an engine that was not measured yet has no row.
    """

    def __init__(self, costs: Mapping[str, WallCost]) -> None:
        self.counts = DeviceCounts()
        self.waiting: dict[Place, deque[Job]] = {}  # never empty; one job unless lossless
        self.running: dict[int, int] = {}  # batch -> when it should end
        self.again_ns: int | None = None  # when a held or postponed job should be looked at again
        self._tokens = make_tokens()
        self.nudges = 0
        self._idle = 0  # workers that wait for a token; with the tokens there, all that wait
        self._costs = costs
        self._limits: Mapping[str, EngineLimits] = {}
        self._workers = 1
        self._lanes: dict[str, list[Lane]] = {}
        self._top = -1
        self._counted_ns = 0
        self._began_ns: dict[str, int] = {}  # engine -> when it last began an inference

    def set_limits(self, limits: Mapping[str, EngineLimits]) -> None:
        """Take the limits of this device's engines."""
        self._limits = limits
        self._workers = max((one.workers for one in limits.values()), default=1)
        self._began_ns = {engine: at_ns for engine, at_ns in self._began_ns.items() if engine in limits}

    def set_lanes(self, lanes: Sequence[Lane]) -> None:
        """Take every lane that leads here, also those of groups, to know what is still to come."""
        self._lanes = {}
        for lane in lanes:
            self._lanes.setdefault(lane.engine, []).append(lane)
        priorities = (claim.route.priority for lane in lanes if not lane.feed.lossless for claim in lane.claims)
        self._top = max(priorities, default=-1)

    def wake(self, workers: int = 1) -> None:
        """Let idle workers look again."""
        for _ in range(min(workers, self._idle)):
            self._idle -= 1
            self._tokens.put()

    def begin_wait(self) -> None:
        """Count the calling worker as idle, from before it leaves the lock."""
        self._idle += 1

    def wait(self, timeout_s: float) -> bool:
        """Wait for a token, without the lock. Returns whether it came."""
        return self._tokens.get(timeout_s)

    def end_wait(self) -> None:
        """Take the calling worker out again, which got no token in time; one may have come since."""
        if not self._tokens.get(0):
            self._idle -= 1

    def leave(self, job: Job) -> int:
        """Take a job out of its place. Returns how many still wait there."""
        place = place_of(job)
        places = self.waiting[place]
        places.remove(job)
        if not places:
            del self.waiting[place]
        return len(places)

    def too_late(self, now_ns: int) -> list[Job]:
        """Return the waiting jobs whose results nobody will want any more."""
        late = []
        for jobs in self.waiting.values():
            job = jobs[0]
            if job.expires_ns is not None:
                idle = now_ns - self._began_ns.get(job.engine, -PROBE_NS) >= PROBE_NS
                if hopeless(job, self._costs.get(job.engine), now_ns, idle):
                    late.append(job)
        return late

    def choose(self, now_ns: int) -> Sequence[Job]:
        """Return the batch that should start now, empty when none should; `again_ns` is then when to look again."""
        self.again_ns = None
        heads = [jobs[0] for jobs in self.waiting.values()]
        if len(heads) > 1:
            heads.sort(key=urgency)
        held: list[Expected] = []
        seen: set[str] = set()
        for first in heads:
            if first.engine in seen:
                continue
            seen.add(first.engine)
            jobs = self._batch(first, heads, now_ns)
            until_ns = self._hold(first, jobs, heads, now_ns)
            if until_ns <= now_ns:
                allowed, until_ns = self._allowed(jobs, held, now_ns)
                if allowed:
                    self._began_ns[first.engine] = now_ns
                    return allowed
            held.append(self._held(jobs, now_ns, until_ns))
            self.again_ns = until_ns if self.again_ns is None else min(self.again_ns, until_ns)
        return ()

    def start(self, number: int, jobs: Sequence[Job], now_ns: int) -> None:
        """Count a worker as busy with a batch."""
        self.count_busy(now_ns)
        cost = self._costs.get(jobs[0].engine)
        self.running[number] = now_ns + (cost.ns(len(jobs)) if cost else 0)

    def finish(self, number: int, now_ns: int) -> None:
        """Count a worker as free again."""
        self.count_busy(now_ns)
        del self.running[number]

    def count_busy(self, now_ns: int) -> None:
        """Bring the time that workers were busy up to now."""
        self.counts.busy_s += len(self.running) * (now_ns - self._counted_ns) / 1e9
        self._counted_ns = now_ns

    def _batch(self, first: Job, heads: Sequence[Job], now_ns: int) -> Sequence[Job]:
        limits = self._limits[first.engine]
        if limits.max_batch == 1 or len(heads) == 1:
            return (first,)
        same = [job for job in heads if job.engine == first.engine]
        share = -(-len(same) // limits.workers)  # leave the other workers their part
        return in_time(same[: min(share, limits.max_batch)], self._costs.get(first.engine), now_ns)

    def _hold(self, first: Job, jobs: Sequence[Job], heads: Sequence[Job], now_ns: int) -> int:
        """Return until when a batch should wait for further cameras; a time that is over when it should go."""
        cost, room = self._costs.get(first.engine), self._limits[first.engine].max_batch - len(jobs)
        if room <= 0 or first.lossless or cost is None or cost.fixed_ns() <= 0:
            return 0
        if sum(job.engine == first.engine for job in heads) > len(jobs):
            return 0  # there is more than one batch of them already
        arrivals_ns = []
        for lane in self._lanes.get(first.engine, ()):
            if lane.place[2] or lane.place in self.waiting:
                continue
            taken_ns = lane.feed.next_ns(lane.claims[0])
            if taken_ns is not None and taken_ns + lane.feed.lag_ns + (lane.feed.interval_ns >> 3) > now_ns:
                arrivals_ns.append(taken_ns + lane.feed.lag_ns)
        return hold_ns(jobs, arrivals_ns, room, self._limits[first.engine].workers, cost)

    def _held(self, jobs: Sequence[Job], now_ns: int, until_ns: int) -> Expected:
        """Return what waits as something to come, so that nothing after it makes it late."""
        took_ns = self._costs[jobs[0].engine].ns(len(jobs))
        ends = [job.deadline_ns for job in jobs if job.deadline_ns is not None]
        return Expected(min(ends) - took_ns if ends else NEVER_NS, now_ns, took_ns, until_ns)

    def _allowed(self, jobs: Sequence[Job], held: list[Expected], now_ns: int) -> tuple[Sequence[Job], int]:
        """Shorten a batch until it breaks nothing of higher priority.

        When even one picture does it is empty, and the time is when that may have changed.
        """
        priority, cost = jobs[0].priority, self._costs.get(jobs[0].engine)
        if cost is None or (priority >= self._top and not held):
            return jobs, 0
        others = self._workers - 1 - len(self.running)
        busy = [*(max(now_ns, end) for end in self.running.values()), *([now_ns] * others)]
        expected = [*held, *self._coming(priority, now_ns, now_ns + cost.ns(len(jobs)))]
        count = len(jobs)
        while count and breaks(expected, busy, now_ns, cost.ns(count)):
            count //= 2
        return jobs[:count], min((one.gone_ns for one in expected), default=0)

    def _coming(self, priority: int, now_ns: int, end_ns: int) -> Iterator[Expected]:
        """Yield the inferences of higher priority whose frames are due until `end_ns`."""
        for engine, lanes in self._lanes.items():
            cost = self._costs.get(engine)
            if cost is None:
                continue
            batch = min(self._limits[engine].max_batch, len(lanes))
            took_ns = cost.ns(batch)
            for lane in lanes:
                feed = lane.feed
                if feed.last_ns + feed.interval_ns + feed.lag_ns > end_ns:
                    continue  # its next frame comes later than that: most lanes, most of the time
                if lane.place in self.waiting or feed.lossless:
                    continue
                for claim in lane.claims:
                    if claim.route.priority > priority:
                        yield from _frames(lane, claim, now_ns, end_ns, took_ns, batch)
                        break


def _frames(lane: Lane, claim: Claim, now_ns: int, end_ns: int, took_ns: int, batch: int) -> Iterator[Expected]:
    """Yield one claim's inferences until `end_ns`. A camera that is two frames late has fallen silent."""
    feed = lane.feed
    taken_ns = feed.next_ns(claim)
    if taken_ns is None:
        return
    interval_ns = max(feed.interval_ns, int(1e9 / claim.route.rate_hz))
    patience_ns = interval_ns if claim.route.deadline_ms is None else int(claim.route.deadline_ms * 1e6)
    for _ in range(REPEATS_MAX):
        at_ns = taken_ns + feed.lag_ns
        gone_ns = at_ns + 2 * feed.interval_ns
        if at_ns > end_ns or gone_ns <= now_ns:
            return
        yield Expected(taken_ns + patience_ns - took_ns, max(now_ns, at_ns), took_ns // batch, gone_ns)
        taken_ns += interval_ns

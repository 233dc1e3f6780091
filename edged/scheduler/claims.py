"""What tasks claim of a camera's frames, how it went, and what is known of the frames to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edged.scheduler.gate import Gate
from edged.scheduler.groups import Grouper, Sync
from edged.work import Job

Place = tuple[str, str, str]
"""Where a job waits: engine, camera, and the task where it is one of a group."""


@dataclass(frozen=True)
class Route:
    """One task's claim on one camera's frames. `rate_hz` is what the plan grants."""

    task: str
    engine: str
    rate_hz: float
    priority: int
    deadline_ms: float | None
    sync: Sync | None = None


@dataclass(frozen=True)
class EngineLimits:
    """What one batch of an engine may hold, how many workers could share the waiting jobs, and where it runs.

    The engines of one device are served by the same workers.
    """

    max_batch: int
    workers: int
    device: str = "cpu"


@dataclass
class TaskCounts:
    """Frames of one camera that were decoded while one task claimed it, and where they went.

    `offered` = `served` + all causes + those still on their way. `unsynced` are frames of a camera that its task's
    newest group misses, which came too late for it or were taken at another time.
    """

    offered: int = 0
    served: int = 0
    rate: int = 0
    superseded: int = 0
    late: int = 0
    stopped: int = 0
    failed: int = 0
    unsynced: int = 0


@dataclass
class DeviceCounts:
    """Claims on live frames that one device should have served, since the start.

    `lost_by_priority` has those that were superseded, or late although there was time when they came, by the highest
    priority that wanted the frame. `busy_s` is how long its workers were at work, all together.
    """

    served: int = 0
    lost_by_priority: dict[int, int] = field(default_factory=dict)
    busy_s: float = 0.0

    @property
    def lost_for_want_of_worker(self) -> int:
        """All that were lost because no worker was free in time."""
        return sum(self.lost_by_priority.values())

    def highest_lost(self, before: DeviceCounts) -> int | None:
        """Return the highest priority that has lost a frame since `before`, None if none has."""
        losing = [one for one, lost in self.lost_by_priority.items() if lost > before.lost_by_priority.get(one, 0)]
        return max(losing, default=None)


@dataclass(eq=False)
class Claim:
    """A route while it is in force. Its gate and counts outlast a change of its rate; `live` ends with it."""

    route: Route
    counts: TaskCounts
    gate: Gate
    group: Grouper | None = None
    live: bool = True


@dataclass(eq=False)
class Feed:
    """One camera's frames as they come.

    `last_ns` is when the newest was taken, `interval_ns` the mean time between two, `lag_ns` from capture until it was
    offered. `lossless` cameras have no times to go by.
    """

    camera: str
    routes: tuple[Route, ...] = ()
    lanes: tuple[Lane, ...] = ()
    synced: tuple[Claim, ...] = ()
    last_ns: int = 0
    interval_ns: int = 0
    lag_ns: int = 0
    lossless: bool = False

    def saw(self, at_ns: int, now_ns: int) -> None:
        """Follow the rhythm of a live camera."""
        gap_ns = at_ns - self.last_ns if self.last_ns else 0
        if gap_ns >= 8 * self.interval_ns:  # a pause, or the first interval was none
            self.interval_ns = 2 * self.interval_ns or gap_ns
        elif gap_ns > 0:
            self.interval_ns += (gap_ns - self.interval_ns) >> 3
        self.last_ns, self.lag_ns = at_ns, max(0, now_ns - at_ns)

    def next_ns(self, claim: Claim) -> int | None:
        """Return when the next frame that a claim's rate lets through should be taken; None where that is not known."""
        opens_ns = claim.gate.opens_ns(claim.route.rate_hz)
        if opens_ns is None or not self.interval_ns or self.lossless:
            return None
        return self.last_ns + max(1, -(-(opens_ns - self.last_ns) // self.interval_ns)) * self.interval_ns


@dataclass(eq=False)
class Lane:
    """The claims on one camera that one engine serves, the highest rate first: the others ride on its frames."""

    feed: Feed
    engine: str
    place: Place
    claims: tuple[Claim, ...]

    def pass_gates(self, at_ns: int) -> list[Claim]:
        """Count a frame for every claim, and return those whose rate lets it through.

        A lower rate is asked only on frames that the highest lets through: one frame is inferred once for all.
        """
        passed: list[Claim] = []
        leads = True
        for claim in self.claims:
            claim.counts.offered += 1
            if (leads or passed) and claim.gate.open(at_ns, claim.route.rate_hz):
                passed.append(claim)
            else:
                claim.counts.rate += 1
            leads = False
        return passed


def lanes_of(feed: Feed, claims: Sequence[Claim]) -> Iterator[Lane]:
    """Sort a camera's claims into lanes; those of groups have none."""
    engines: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.group is None:
            engines.setdefault(claim.route.engine, []).append(claim)
    for engine, mine in engines.items():
        mine.sort(key=lambda claim: -claim.route.rate_hz)
        yield Lane(feed, engine, (engine, feed.camera, ""), tuple(mine))


def place_of(job: Job) -> Place:
    """Return where a job waits."""
    return job.engine, job.frame.camera, job.tasks[0] if job.group else ""

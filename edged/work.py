"""Orders from the dispatcher to the engine workers. Frozen: they cross threads."""

from __future__ import annotations

from dataclasses import dataclass

from edged.frame import Frame
from edged.results import Group

__all__ = ["Batch", "Cost", "Group", "Job"]


@dataclass(frozen=True)
class Job:
    """One frame to be inferred by one engine for one or several tasks. Carries one lease of the frame.

    All times are CLOCK_MONOTONIC. `deadlines_ns` has one for each of `tasks`, None where lateness does not matter;
    `deadline_ns` is the earliest of them, after `expires_ns` nobody wants the result. `posted_ns` is when the frame
    was ready to be taken; `lossless` marks a `pace: fast` camera, whose result must not be dropped.
    """

    frame: Frame
    engine: str
    tasks: tuple[str, ...]
    priority: int
    deadline_ns: int | None
    posted_ns: int
    lossless: bool
    deadlines_ns: tuple[int | None, ...]
    expires_ns: int | None
    group: Group | None = None


@dataclass(frozen=True)
class Cost:
    """What one inference of n pictures takes, in seconds: `fixed_s` + n x `picture_s`, conversion and parsing included.

    Measured while running. On the CPU it is CPU time, which other work on the machine does not stretch.
    """

    fixed_s: float
    picture_s: float

    def of(self, pictures: int) -> float:
        """Return the seconds of one inference of that many pictures."""
        return self.fixed_s + pictures * self.picture_s


@dataclass(frozen=True)
class Batch:
    """Jobs that one inference serves, all for the same engine. `number` tells the dispatcher's batches apart."""

    engine: str
    jobs: tuple[Job, ...]
    number: int
